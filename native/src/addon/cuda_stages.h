#pragma once

#include "addon/stages.h"
#include "pi05/cuda_stages.h"

namespace turbopi::addon {

/// {kind: 'cuda', kernels, tuned, readers, model, weights}: sizes as CudaModel names them; weights [{name, pieces: [{file, offset,
/// elements, type}]}], type as safetensors names it.
OpenStages cudaStages(const Napi::Object& object);
pi05::CudaRequest cudaRequest(const Napi::Object& object);

}  // namespace turbopi::addon
