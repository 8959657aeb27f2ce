#pragma once

#include <NvInfer.h>

#define NV_ONNX_PARSER_VERSION 100

/// Stand-in for TensorRT's ONNX parser; see NvInfer.h beside it.
namespace nvonnxparser {

class IParserError {
 public:
  virtual ~IParserError() = default;
  virtual const char* desc() const = 0;
  virtual int node() const = 0;
};

class IParser {
 public:
  virtual ~IParser() noexcept = default;
  virtual int getNbErrors() const noexcept = 0;
  virtual const IParserError* getError(int index) const noexcept = 0;
  virtual bool loadModelProto(const void* model, std::size_t size, const char* path = nullptr) noexcept = 0;
  virtual bool loadInitializer(const char* name, const void* data, std::size_t size) noexcept = 0;
  virtual bool parseModelProto() noexcept = 0;
};

}  // namespace nvonnxparser
