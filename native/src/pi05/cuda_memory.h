#pragma once

#include "pi05/cuda_stages.h"
#include "pi05/session.h"

namespace turbopi::pi05 {

/// Bytes of device memory that a session of our own kernels allocates when it is opened, by what for. What CUDA takes by
/// itself (its context, the kernels' code, captured graphs) comes on top: the driver does not tell beforehand.
struct CudaMemory {
  /// With what is made of them.
  size_t weights = 0;
  /// Keys and values of all slots, of the rows that are kept and of those that an act joins.
  size_t slots = 0;
  size_t inputs = 0;
  size_t workspaces = 0;
};

/// Computed by the functions that allocate; neither a driver nor the weights' files are needed.
CudaMemory cudaMemory(const CudaRequest& request, const SessionOptions& options, const cuda::DeviceInfo& device);

}  // namespace turbopi::pi05
