#pragma once

#include <memory>
#include <string>

#include "base/dyn_lib.h"
#include "nvml/api.h"

namespace turbopi::nvml {

/// NVML as a table of functions, loaded at run time. What the installed one lacks of the optional ones is null.
class Library {
 public:
  /// Loads and initialises it. Throws Error with a reason and a hint. May block while the driver wakes a card.
  static std::shared_ptr<const Library> load(const std::string& name = "libnvidia-ml.so.1");

#define TURBO_PI_DECLARE(returned, member, symbol, parameters) returned(*member) parameters = nullptr;
  TURBO_PI_NVML_REQUIRED(TURBO_PI_DECLARE)
  TURBO_PI_NVML_OPTIONAL(TURBO_PI_DECLARE)
#undef TURBO_PI_DECLARE

  /// Throws Error "<what>: <text>" unless `result` is success.
  void check(Result result, const char* what) const;

 private:
  explicit Library(const DynLib& library);
};

using LibraryPtr = std::shared_ptr<const Library>;

}  // namespace turbopi::nvml
