#pragma once

#include <memory>

#include "pi05/cuda_suffix.h"

namespace turbopi::pi05 {

/// The persistent expert (kernels/expert_sm90.cuh): a denoise step of one row as one kernel.
class PersistentExpert {
 public:
  /// Whether the kernel takes this model on this card.
  static bool fits(const CudaModel& model, const cuda::DeviceInfo& device);

  /// Packs the expert's weights, which must still be in the checkpoint's row order. With 8-bit floats the MLPs have been
  /// rounded to them, and `scales` are those of their rows (roundMlps).
  PersistentExpert(const CudaShared& shared, cuda::DevicePtr scales);

  /// Stages share the exchange memory: one runs at a time.
  std::unique_ptr<Stage> stage(std::shared_ptr<const CudaShared> shared, const DenoiseCall& call, Scratch scratch) const;
  static size_t scratch(const CudaModel& model) { return suffixTokensBytes(model, 1) * 2; }
  /// Device memory of all that it makes.
  static size_t weightBytes(const CudaModel& model);

 private:
  cuda::DeviceBuffer weights_;
  /// Of 8-bit floats; else a byte.
  cuda::DeviceBuffer scales_;
  cuda::DeviceBuffer cache_;
  cuda::DeviceBuffer exchange_;
  /// pi0: its norms as constants of a step; else a byte.
  cuda::DeviceBuffer constants_;
};

}  // namespace turbopi::pi05
