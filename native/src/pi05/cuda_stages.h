#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cuda/driver.h"
#include "pi05/cuda_model.h"
#include "pi05/stage.h"

namespace turbopi::pi05 {

/// What stages from our own kernels are opened with.
struct CudaRequest {
  CudaModel model;
  /// The image of all kernels, native/build/…/kernels.fatbin.
  std::string kernels;
  std::vector<WeightSource> weights;
  int device = 0;
  /// False: the reference kernels alone, on any card.
  bool tuned = true;
  /// Threads that read the weights.
  unsigned readers = 8;
};

/// Loads kernels and weights onto the device whose context is current. Throws Error.
std::unique_ptr<StageMaker> openCudaStages(const cuda::DriverPtr& driver, const CudaRequest& request);

}  // namespace turbopi::pi05
