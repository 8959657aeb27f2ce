#pragma once

#include <map>
#include <mutex>
#include <string>

#include "cuda/memory.h"
#include "cuda/stream.h"

namespace turbopi::cuda {

/// How a kernel is started.
struct LaunchShape {
  unsigned gridX = 1, gridY = 1, gridZ = 1;
  unsigned block = 256;
  size_t sharedBytes = 0;
  /// All blocks are on the device at once, as a barrier of the grid needs it.
  bool cooperative = false;
};

/// A two-dimensional row-major array that the copy engine reads in boxes, as the driver encodes it.
struct alignas(64) TensorMap {
  uint64_t opaque[16] = {};
};

/// A loaded image of kernels (a fatbin or cubin), by name.
class Kernels {
 public:
  /// Throws Error when the image has no code for this device.
  Kernels(DriverPtr driver, int device, const std::string& path);
  ~Kernels();
  Kernels(const Kernels&) = delete;
  Kernels& operator=(const Kernels&) = delete;

  /// Whether the image has a kernel of this name.
  bool has(const char* name) const;

  /// Puts one kernel into the stream. Arguments are passed by value, as the kernel declares them.
  template <typename... Arguments>
  void launch(const Stream& stream, const char* name, const LaunchShape& shape, const Arguments&... arguments) const {
    const void* parameters[] = {&arguments...};
    start(stream, name, shape, const_cast<void**>(parameters));
  }

  /// Boxes of boxRows × 64 elements of bf16, swizzled by 128 bytes; what is outside the array reads as zero.
  TensorMap boxes(DevicePtr address, uint64_t rows, uint64_t columns, uint64_t strideBytes, unsigned boxRows) const;

  const DriverPtr& driver() const noexcept { return driver_; }
  const DeviceInfo& device() const noexcept { return device_; }

 private:
  RawFunction function(const char* name, size_t sharedBytes) const;
  void start(const Stream& stream, const char* name, const LaunchShape& shape, void** parameters) const;

  struct Loaded {
    RawFunction function = nullptr;
    size_t sharedBytes = 0;
  };
  DriverPtr driver_;
  DeviceInfo device_;
  RawModule module_ = nullptr;
  mutable std::mutex mutex_;
  mutable std::map<std::string, Loaded> functions_;
};

}  // namespace turbopi::cuda
