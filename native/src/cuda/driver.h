#pragma once

#include <memory>
#include <string>

#include "base/dyn_lib.h"
#include "cuda/driver_api.h"

namespace turbopi::cuda {

struct DeviceInfo {
  std::string name;
  /// "0000:1b:00.0": the card itself, whichever ordinal CUDA_VISIBLE_DEVICES gives it.
  std::string pciBusId;
  int major = 0;
  int minor = 0;
  int multiprocessors = 0;
  size_t memoryBytes = 0;
};

/// The CUDA driver as a table of functions, loaded from libcuda.so.1 at run time.
class Driver {
 public:
  /// Loads and initialises the driver. Throws Error with a reason and a hint.
  static std::shared_ptr<Driver> load();

#define TURBO_PI_DECLARE(member, symbol, parameters) Result(*member) parameters = nullptr;
  TURBO_PI_CUDA_FUNCTIONS(TURBO_PI_DECLARE)
#undef TURBO_PI_DECLARE

  /// Throws Error "<what>: <name>, <text>", or OutOfMemory, unless `result` is success.
  void check(Result result, const char* what) const {
    if (result != kSuccess) fail(result, what);
  }
  [[noreturn]] void fail(Result result, const char* what) const;

  /// For destructors: a failure there can not be thrown, and after a sticky error every release fails; the first
  /// failing call has already been reported.
  void release(Result) const noexcept {}

  /// A further function of the driver, for callers that need what not every driver has. Throws Error naming it.
  template <typename Function>
  Function* get(const char* symbol) const {
    if (cutOff_) fail(kContextIsDestroyed, symbol);
    return library_.get<Function>(symbol);
  }

  /// Once the context in which all work of this table's users is has been destroyed: their calls fail with
  /// kContextIsDestroyed and no longer reach the driver, to which the handles they hold are wild pointers. Not while another
  /// thread uses the table.
  void cutOff();

  /// Highest CUDA version the driver supports, as 1000 × major + 10 × minor.
  int version() const noexcept { return version_; }
  /// The driver's release where the system tells it, for example "580.95.05", and the CUDA version it supports.
  std::string description() const;
  int deviceCount() const;
  DeviceInfo device(int ordinal) const;

 private:
  explicit Driver(DynLib library);

  DynLib library_;
  int version_ = 0;
  bool cutOff_ = false;
};

using DriverPtr = std::shared_ptr<const Driver>;

/// "13.0" for 13000.
std::string versionText(int cudaVersion);

/// A device's primary context, the one TensorRT works in.
class Context {
 public:
  Context(DriverPtr driver, int ordinal);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  /// Binds the context to the calling thread.
  void makeCurrent() const;
  const DriverPtr& driver() const noexcept { return driver_; }
  DeviceId device() const noexcept { return device_; }

 private:
  DriverPtr driver_;
  DeviceId device_ = 0;
  RawContext context_ = nullptr;
};

}  // namespace turbopi::cuda
