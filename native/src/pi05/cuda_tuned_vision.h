#pragma once

#include <memory>

#include "pi05/cuda_shared.h"
#include "pi05/stage.h"

namespace turbopi::pi05 {

inline constexpr int kVisionHeadDim = 72;
inline constexpr int kVisionTokens = 256;

/// Values of a patch, padded to what a tensor map takes.
inline int64_t patchStride(const CudaModel& model) { return (model.patchValues() + 7) / 8 * 8; }

/// The vision tower from the tuned kernels, and its scratch for the largest call. `patch`: the patches' weights, padded.
std::unique_ptr<Stage> tunedVision(const std::shared_ptr<const CudaShared>& shared, cuda::DevicePtr patch,
                                   const VisionCall& call, Scratch scratch);
size_t tunedVisionBytes(const CudaModel& model);

}  // namespace turbopi::pi05
