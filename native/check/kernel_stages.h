#pragma once

#include <memory>

#include "check/kernels.h"
#include "pi05/stage.h"

namespace turbopi::check {

/// How long the stand-ins take, and what of the GPU they use meanwhile.
struct Load {
  enum class Kind { kNone, kWait, kContend };
  Kind kind = Kind::kNone;
  /// kWait: nanoseconds on one multiprocessor, a prefix and a denoise step.
  uint64_t perceiveNs = 0;
  uint64_t stepNs = 0;
  /// kContend: rounds of arithmetic on every multiprocessor a prefix, bytes read a denoise step.
  int64_t arithmeticRounds = 0;
  int64_t stepBytes = 0;
};

/// Times at which acts started and ended on the GPU, written by the GPU.
struct StampRing {
  StampRing(const cuda::DriverPtr& driver, unsigned entries)
      : capacity(entries), memory(driver, sizeof(uint64_t) * entries), counter(driver, sizeof(unsigned)) {}
  unsigned capacity;
  cuda::DeviceBuffer memory;
  cuda::DeviceBuffer counter;
};

/// A model of about pi0.5's buffer sizes (two cameras, 64 tokens, 18 layers), in float32.
pi05::ModelShape standInShape();

/// The toy model on the GPU with the given load. `ring` may be null; it must outlive the stages.
std::unique_ptr<pi05::StageMaker> kernelStages(std::shared_ptr<const Kernels> kernels, const Load& load,
                                               std::shared_ptr<StampRing> ring);

}  // namespace turbopi::check
