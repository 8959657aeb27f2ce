#pragma once

#include <string>
#include <vector>

namespace turbopi {

/// A shared library opened at run time. It is never closed: drivers and TensorRT keep threads and
/// exit handlers that must not lose their code.
class DynLib {
 public:
  /// Opens the first of `names` that the loader finds. Throws Error with the loader's own words and `hint`.
  static DynLib open(const std::vector<std::string>& names, const std::string& hint);

  /// The address of a symbol, or nullptr.
  void* find(const char* symbol) const noexcept;

  /// As find, but throws Error naming the library and the symbol.
  template <typename Function>
  Function* get(const char* symbol) const {
    return reinterpret_cast<Function*>(address(symbol));
  }

  const std::string& name() const noexcept { return name_; }

 private:
  DynLib(void* handle, std::string name) : handle_(handle), name_(std::move(name)) {}
  void* address(const char* symbol) const;

  void* handle_;
  std::string name_;
};

}  // namespace turbopi
