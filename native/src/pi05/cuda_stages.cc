#include "pi05/cuda_stages.h"

#include "base/error.h"
#include "pi05/cuda_float8.h"
#include "pi05/cuda_tuned.h"

namespace turbopi::pi05 {

std::unique_ptr<StageMaker> openCudaStages(const cuda::DriverPtr& driver, const CudaRequest& request) {
  require(request.model.element != ElementType::kFloat16, "the CUDA kernels have no fp16", "use bf16 or fp32");
  const auto kernels = std::make_shared<const cuda::Kernels>(driver, request.device, request.kernels);
  const CudaModel& model = request.model;
  if (model.vision.float8 || model.prefix.float8 || model.expert.float8) requireFloat8(kernels->device());
  const auto weights = std::make_shared<const CudaWeights>(kernels, request.model.element, request.weights,
                                                           request.readers);
  const auto shared = std::make_shared<CudaShared>(kernels, request.model, weights);
  if (request.tuned && tunedFits(request.model, kernels->device())) return std::make_unique<CudaTuned>(shared);
  const cuda::Stream stream(driver, cuda::Stream::Priority::kNormal);
  if (model.vision.float8) roundVision(*shared, stream);
  if (model.prefix.float8) roundMlps(*shared, stream, "prefix", model.prefix);
  if (model.expert.float8) roundMlps(*shared, stream, "expert", model.expert);
  stream.synchronize();
  return std::make_unique<CudaReference>(shared);
}

}  // namespace turbopi::pi05
