#include "nvml/library.h"

#include "base/error.h"

namespace turbopi::nvml {

Library::Library(const DynLib& library) {
#define TURBO_PI_REQUIRE(returned, member, symbol, parameters) member = library.get<returned parameters>(symbol);
  TURBO_PI_NVML_REQUIRED(TURBO_PI_REQUIRE)
#undef TURBO_PI_REQUIRE
#define TURBO_PI_FIND(returned, member, symbol, parameters) \
  member = reinterpret_cast<returned(*) parameters>(library.find(symbol));
  TURBO_PI_NVML_OPTIONAL(TURBO_PI_FIND)
#undef TURBO_PI_FIND
}

LibraryPtr Library::load(const std::string& name) {
  const std::shared_ptr<Library> library(new Library(DynLib::open(
      {name}, "it comes with NVIDIA's driver; in a container, NVIDIA_DRIVER_CAPABILITIES must have utility")));
  library->check(library->init(), "nvmlInit");
  return library;
}

void Library::check(Result result, const char* what) const {
  if (result == kSuccess) return;
  const char* text = errorString(result);
  throw Error(std::string(what) + ": " + (text == nullptr ? "no description" : text) + " (" + std::to_string(result) +
              ")");
}

}  // namespace turbopi::nvml
