#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/mapped_file.h"

namespace turbopi::trt {

/// One initializer that an ONNX file keeps outside itself.
struct ExternalWeight {
  std::string name;
  std::string location;
  uint64_t offset = 0;
  uint64_t length = 0;
};

/// Finds the external initializers of a serialised ONNX ModelProto, reading only the protobuf fields it needs.
/// Throws Error when the bytes are not such a message.
std::vector<ExternalWeight> externalWeights(const uint8_t* model, size_t size);

/// An ONNX file and the weights file beside it, memory-mapped. The pointers live as long as the object.
class WeightSource {
 public:
  /// Throws Error when a weight lies outside its file, or a location leaves the model's directory.
  explicit WeightSource(const std::string& onnxPath);

  struct Weight {
    std::string name;
    const void* data;
    size_t size;
  };

  const MappedFile& model() const noexcept { return model_; }
  const std::vector<Weight>& weights() const noexcept { return weights_; }

 private:
  MappedFile model_;
  std::vector<std::unique_ptr<MappedFile>> files_;
  std::vector<Weight> weights_;
};

}  // namespace turbopi::trt
