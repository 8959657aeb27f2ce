#include "pi05/cuda_memory.h"

#include <algorithm>

#include "pi05/cuda_tuned.h"
#include "pi05/cuda_weights.h"

namespace turbopi::pi05 {

CudaMemory cudaMemory(const CudaRequest& request, const SessionOptions& options, const cuda::DeviceInfo& device) {
  const CudaModel& model = request.model;
  const bool tuned = request.tuned && tunedFits(model, device);
  const SessionBytes session = sessionBytes(cudaShape(model), options);
  const StageBytes stages =
      tuned ? tunedBytes(model, PersistentExpert::fits(model, device)) : referenceBytes(model);
  const size_t perceive = cuda::aligned(std::max(stages.vision, stages.prefix));
  const size_t act = cuda::aligned(stages.denoise);
  CudaMemory out;
  out.weights = cuda::aligned(CudaWeights::bytes(model.element, request.weights)) + cuda::aligned(ropeBytes(model)) +
                (tuned ? tunedWeightBytes(model, device) : 0);
  out.slots = session.slots;
  out.inputs = session.inputs;
  out.workspaces = options.lanes == 2 ? perceive + act : std::max(perceive, act);
  return out;
}

}  // namespace turbopi::pi05
