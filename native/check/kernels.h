#pragma once

#include <string>

#include "base/mapped_file.h"
#include "cuda/memory.h"
#include "cuda/stream.h"

namespace turbopi::check {

/// The stand-in kernels, loaded from PTX.
class Kernels {
 public:
  Kernels(const cuda::DriverPtr& driver, const std::string& ptxPath);
  ~Kernels() { driver_->release(driver_->moduleUnload(module_)); }
  Kernels(const Kernels&) = delete;
  Kernels& operator=(const Kernels&) = delete;

  /// Launches `name` with enough blocks for `threads`, 256 a block.
  template <typename... Arguments>
  void launch(const cuda::Stream& stream, const char* name, int64_t threads, Arguments... arguments) const {
    void* parameters[] = {&arguments...};
    const int64_t blocks = (threads + kBlock - 1) / kBlock;
    cuda::RawFunction function = nullptr;
    driver_->check(driver_->moduleGetFunction(&function, module_, name), name);
    driver_->check(driver_->launchKernel(function, static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks),
                                         1, 1, threads == 1 ? 1 : kBlock, 1, 1, 0, stream.raw(), parameters, nullptr),
                   name);
  }

  const cuda::DriverPtr& driver() const noexcept { return driver_; }
  static constexpr int64_t kBlock = 256;

 private:
  static constexpr int64_t kMostBlocks = 4096;

  cuda::DriverPtr driver_;
  cuda::RawModule module_ = nullptr;
};

inline Kernels::Kernels(const cuda::DriverPtr& driver, const std::string& ptxPath) : driver_(driver) {
  const MappedFile file(ptxPath);
  const std::string text(reinterpret_cast<const char*>(file.data()), file.size());
  driver_->check(driver_->moduleLoadData(&module_, text.c_str()), ("loading " + ptxPath).c_str());
}

}  // namespace turbopi::check
