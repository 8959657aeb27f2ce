#include "trt/engine.h"

#include <cstring>

#include "base/error.h"

namespace turbopi::trt {
namespace {

Shape shapeOf(const nvinfer1::Dims& dims) {
  if (dims.nbDims < 0) return {};
  return Shape(dims.d, dims.d + dims.nbDims);
}

}  // namespace

std::string text(const Shape& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out += (i ? ", " : "") + std::to_string(shape[i]);
  return out + "]";
}

Engine::Engine(LibraryPtr library, const std::string& graph, const void* plan, size_t bytes, const LogSink& log)
    : library_(std::move(library)),
      graph_(graph),
      logger_(std::make_unique<Logger>(log)),
      errors_(std::make_unique<ErrorRecorder>()),
      runtime_(library_->createRuntime(*logger_)) {
  runtime_->setErrorRecorder(errors_.get());
  engine_.reset(runtime_->deserializeCudaEngine(plan, bytes));
  require(engine_ != nullptr, errors_->explain("TensorRT refused the plan of " + graph),
          "run turbo-pi build to make a new plan");
  engine_->setErrorRecorder(errors_.get());
  for (int32_t i = 0; i < engine_->getNbIOTensors(); ++i) {
    const char* name = engine_->getIOTensorName(i);
    require(engine_->getTensorLocation(name) == nvinfer1::TensorLocation::kDEVICE,
            graph + ": TensorRT wants " + name + " in host memory, as a shape; such a graph can not be captured",
            "export the model again");
  }
}

bool Engine::has(const std::string& tensor) const noexcept {
  for (int32_t i = 0; i < engine_->getNbIOTensors(); ++i)
    if (tensor == engine_->getIOTensorName(i)) return true;
  return false;
}

void Engine::requireTensor(const std::string& tensor) const {
  require(has(tensor), "the graph " + graph_ + " has no tensor " + tensor, "export the model again");
}

Shape Engine::shape(const std::string& tensor) const {
  requireTensor(tensor);
  return shapeOf(engine_->getTensorShape(tensor.c_str()));
}

nvinfer1::DataType Engine::type(const std::string& tensor) const {
  requireTensor(tensor);
  return engine_->getTensorDataType(tensor.c_str());
}

Shape Engine::profileShape(const std::string& tensor, int profile, nvinfer1::OptProfileSelector selector) const {
  requireTensor(tensor);
  return shapeOf(engine_->getProfileShape(tensor.c_str(), profile, selector));
}

size_t Engine::scratchBytes(int profile) const {
  const int64_t bytes = engine_->getDeviceMemorySizeForProfileV2(profile);
  require(bytes >= 0, errors_->explain("TensorRT gave no scratch size for " + graph_));
  return static_cast<size_t>(bytes);
}

ExecutionContext::ExecutionContext(const Engine& engine, int profile, const cuda::Stream& stream,
                                   cuda::DevicePtr scratch, size_t bytes)
    : engine_(engine),
      context_(engine.raw().createExecutionContext(nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED)) {
  check(context_ != nullptr, "make an execution context");
  context_->setErrorRecorder(&engine.errors());
  context_->setDeviceMemoryV2(reinterpret_cast<void*>(scratch), static_cast<int64_t>(bytes));
  check(context_->setOptimizationProfileAsync(profile, stream.raw()),
        "select optimization profile " + std::to_string(profile));
}

void ExecutionContext::check(bool ok, const std::string& what) const {
  require(ok, engine_.errors().explain("TensorRT could not " + what + " for " + engine_.graph()));
}

void ExecutionContext::shape(const std::string& tensor, const Shape& shape) {
  nvinfer1::Dims dims{};
  require(shape.size() <= static_cast<size_t>(nvinfer1::Dims::MAX_DIMS), tensor + " has too many dimensions");
  dims.nbDims = static_cast<int32_t>(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) dims.d[i] = shape[i];
  check(context_->setInputShape(tensor.c_str(), dims), "take shape " + text(shape) + " of " + tensor);
}

void ExecutionContext::bind(const std::string& tensor, cuda::DevicePtr address) {
  check(context_->setTensorAddress(tensor.c_str(), reinterpret_cast<void*>(address)), "bind " + tensor);
}

void ExecutionContext::enqueue(const cuda::Stream& stream) { check(context_->enqueueV3(stream.raw()), "enqueue"); }

}  // namespace turbopi::trt
