#pragma once

#include <memory>

#include "pi05/cuda_shared.h"
#include "pi05/stage.h"

namespace turbopi::pi05 {

/// The vision tower from the reference kernels, and its scratch for the largest call.
std::unique_ptr<Stage> referenceVision(const std::shared_ptr<const CudaShared>& shared, const VisionCall& call,
                                       Scratch scratch);
size_t referenceVisionBytes(const CudaModel& model);

}  // namespace turbopi::pi05
