#pragma once

#include <cstring>
#include <string>

#include "base/error.h"
#include "cuda/driver.h"

namespace turbopi::cuda {

/// What TensorRT asks of addresses, and what keeps neighbours off one another's cache lines.
constexpr size_t kAlignment = 256;

constexpr size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

/// One block of device memory.
class DeviceBuffer {
 public:
  DeviceBuffer(const DriverPtr& driver, size_t bytes) : driver_(driver), bytes_(aligned(bytes == 0 ? 1 : bytes)) {
    driver_->check(driver_->memAlloc(&address_, bytes_),
                   ("cuMemAlloc of " + std::to_string(bytes_) + " bytes").c_str());
  }
  ~DeviceBuffer() { driver_->release(driver_->memFree(address_)); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  DevicePtr address() const noexcept { return address_; }
  size_t bytes() const noexcept { return bytes_; }

 private:
  DriverPtr driver_;
  DevicePtr address_ = 0;
  size_t bytes_;
};

/// A device block handed out in aligned pieces that are all given back together, when the arena goes.
class DeviceArena {
 public:
  DeviceArena(const DriverPtr& driver, size_t bytes) : block_(driver, bytes) {}

  DevicePtr take(size_t bytes) {
    require(used_ + aligned(bytes) <= block_.bytes(), "the device arena is too small: " + std::to_string(bytes) +
                                                          " bytes asked, " + std::to_string(block_.bytes() - used_) +
                                                          " left");
    const DevicePtr address = block_.address() + used_;
    used_ += aligned(bytes);
    return address;
  }
  DevicePtr base() const noexcept { return block_.address(); }
  size_t bytes() const noexcept { return block_.bytes(); }

 private:
  DeviceBuffer block_;
  size_t used_ = 0;
};

/// Page-locked host memory: copies to and from it run beside the host and the kernels.
class PinnedBuffer {
 public:
  PinnedBuffer(const DriverPtr& driver, size_t bytes) : driver_(driver), bytes_(bytes == 0 ? 1 : bytes) {
    driver_->check(driver_->memHostAlloc(&address_, bytes_, 0),
                   ("cuMemHostAlloc of " + std::to_string(bytes_) + " bytes (is --ulimit memlock=-1 set?)").c_str());
  }
  ~PinnedBuffer() { driver_->release(driver_->memFreeHost(address_)); }
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;

  template <typename T>
  T* as() const noexcept {
    return static_cast<T*>(address_);
  }
  size_t bytes() const noexcept { return bytes_; }

  void fill(const void* from, size_t bytes) const {
    require(bytes <= bytes_,
            "a pinned buffer of " + std::to_string(bytes_) + " bytes can not take " + std::to_string(bytes));
    if (bytes > 0) std::memcpy(address_, from, bytes);
  }

 private:
  DriverPtr driver_;
  void* address_ = nullptr;
  size_t bytes_;
};

}  // namespace turbopi::cuda
