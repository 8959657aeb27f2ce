#include "base/dyn_lib.h"

#include <dlfcn.h>

#include "base/error.h"

namespace turbopi {

DynLib DynLib::open(const std::vector<std::string>& names, const std::string& hint) {
  std::string reasons;
  for (const std::string& name : names) {
    if (void* handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)) return DynLib(handle, name);
    const char* reason = dlerror();
    reasons += (reasons.empty() ? "" : "; ") + std::string(reason ? reason : name + " could not be loaded");
  }
  throw Error(reasons, hint);
}

void* DynLib::find(const char* symbol) const noexcept { return dlsym(handle_, symbol); }

void* DynLib::address(const char* symbol) const {
  void* found = find(symbol);
  require(found != nullptr,
          name_ + " has no symbol " + symbol + ": it is another version than this addon was built for");
  return found;
}

}  // namespace turbopi
