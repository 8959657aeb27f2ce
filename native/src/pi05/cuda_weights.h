#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cuda/kernels.h"
#include "pi05/cuda_model.h"

namespace turbopi::pi05 {

/// A model's weights in device memory. Matrices [outputs, inputs] have the model's element type; vectors, and the few
/// layers around the expert that stay wide, are float32 (network §3.9).
class CudaWeights {
 public:
  /// Reads the pieces from their files, with so many threads, each of which takes 32 MiB of page-locked memory. Throws
  /// Error naming the file that does not hold what it should.
  CudaWeights(const std::shared_ptr<const cuda::Kernels>& kernels, ElementType element,
              const std::vector<WeightSource>& sources, unsigned readers = 8);

  /// Device memory that they take.
  static size_t bytes(ElementType element, const std::vector<WeightSource>& sources);

  /// Throws Error unless the tensor is there with so many elements.
  cuda::DevicePtr at(const std::string& name, int64_t elements) const;
  bool has(const std::string& name) const { return tensors_.count(name) != 0; }
  /// True for the tensors that are kept in float32.
  static bool isWide(const std::string& name);

 private:
  struct Tensor {
    cuda::DevicePtr address = 0;
    uint64_t elements = 0;
  };

  std::shared_ptr<const cuda::Kernels> kernels_;
  ElementType element_;
  std::unique_ptr<cuda::DeviceArena> arena_;
  std::map<std::string, Tensor> tensors_;
};

}  // namespace turbopi::pi05
