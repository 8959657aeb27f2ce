#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "cuda/stream.h"
#include "trt/library.h"
#include "trt/logger.h"

namespace turbopi::trt {

using Shape = std::vector<int64_t>;

/// "[1, 256, 2048]".
std::string text(const Shape& shape);

/// A deserialised plan.
class Engine {
 public:
  /// Throws Error with TensorRT's reason when the plan does not fit this library or GPU.
  Engine(LibraryPtr library, const std::string& graph, const void* plan, size_t bytes, const LogSink& log);

  const std::string& graph() const noexcept { return graph_; }
  bool has(const std::string& tensor) const noexcept;
  /// -1 where a dimension is dynamic. Throws Error when the graph has no such tensor.
  Shape shape(const std::string& tensor) const;
  nvinfer1::DataType type(const std::string& tensor) const;
  int profiles() const noexcept { return engine_->getNbOptimizationProfiles(); }
  Shape profileShape(const std::string& tensor, int profile, nvinfer1::OptProfileSelector selector) const;
  /// Scratch memory that a context of this profile needs while it runs.
  size_t scratchBytes(int profile) const;

  nvinfer1::ICudaEngine& raw() const noexcept { return *engine_; }
  ErrorRecorder& errors() const noexcept { return *errors_; }

 private:
  void requireTensor(const std::string& tensor) const;

  LibraryPtr library_;
  std::string graph_;
  std::unique_ptr<Logger> logger_;
  std::unique_ptr<ErrorRecorder> errors_;
  std::unique_ptr<nvinfer1::IRuntime> runtime_;
  std::unique_ptr<nvinfer1::ICudaEngine> engine_;
};

/// One fixed use of an engine: its profile, shapes and addresses. The engine and the scratch must outlive it.
class ExecutionContext {
 public:
  ExecutionContext(const Engine& engine, int profile, const cuda::Stream& stream, cuda::DevicePtr scratch,
                   size_t bytes);

  void shape(const std::string& tensor, const Shape& shape);
  void bind(const std::string& tensor, cuda::DevicePtr address);
  void enqueue(const cuda::Stream& stream);

 private:
  void check(bool ok, const std::string& what) const;

  const Engine& engine_;
  std::unique_ptr<nvinfer1::IExecutionContext> context_;
};

}  // namespace turbopi::trt
