#pragma once

#include <memory>
#include <string>

#include "pi05/cuda_operations.h"

namespace turbopi::pi05 {

/// What every stage of one model shares, in device memory for as long as the model is open.
struct CudaShared {
  CudaShared(std::shared_ptr<const cuda::Kernels> kernels, CudaModel model, std::shared_ptr<const CudaWeights> weights);

  CudaModel model;
  ModelShape shape;
  std::shared_ptr<const cuda::Kernels> kernels;
  std::shared_ptr<const CudaWeights> weights;
  Operations operations;
  /// (cos, sin) [positions, headDim / 2].
  cuda::DeviceBuffer rope;

  cuda::DevicePtr weight(const std::string& name, int64_t elements) const { return weights->at(name, elements); }
};

/// Sizes and ranges of the stages of a model.
ModelShape cudaShape(const CudaModel& model);
/// Of the table of rotations.
size_t ropeBytes(const CudaModel& model);

/// Pointers to a layer's tensors by "prefix.3." and the like.
std::string layerName(const char* transformer, int layer, const char* tensor);

/// A norm of [rows, width] by a transformer's width; without shift, offset and centring.
kernels::Norm normOf(cuda::DevicePtr x, cuda::DevicePtr out, int64_t rows, const Transformer& transformer, float epsilon,
                     cuda::DevicePtr scale);

}  // namespace turbopi::pi05
