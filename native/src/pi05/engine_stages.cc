#include "pi05/engine_stages.h"

#include <algorithm>

#include "base/error.h"

namespace turbopi::pi05 {
namespace {

using nvinfer1::OptProfileSelector;
using trt::Engine;
using trt::ExecutionContext;

std::string layerName(const char* kind, size_t layer) { return std::string(kind) + "." + std::to_string(layer); }

ElementType elementOf(const Engine& engine, const std::string& tensor) {
  switch (engine.type(tensor)) {
    case nvinfer1::DataType::kFLOAT:
      return ElementType::kFloat32;
    case nvinfer1::DataType::kHALF:
      return ElementType::kFloat16;
    case nvinfer1::DataType::kBF16:
      return ElementType::kBFloat16;
    default:
      throw Error(engine.graph() + ": " + tensor + " is none of fp32, fp16 and bf16", "export the model again");
  }
}

void requireType(const Engine& engine, const std::string& tensor, nvinfer1::DataType type) {
  require(engine.type(tensor) == type, engine.graph() + ": " + tensor + " has an unexpected element type",
          "export the model again");
}

int64_t dimension(const Engine& engine, const std::string& tensor, size_t index, size_t rank) {
  const trt::Shape shape = engine.shape(tensor);
  require(shape.size() == rank,
          engine.graph() + ": " + tensor + " has shape " + trt::text(shape) + ", expected " + std::to_string(rank) +
              " dimensions",
          "export the model again");
  return shape[index];
}

int64_t profileMax(const Engine& engine, const std::string& tensor, int profile, size_t index) {
  const trt::Shape shape = engine.profileShape(tensor, profile, OptProfileSelector::kMAX);
  require(index < shape.size() && shape[index] > 0, engine.graph() + ": no range for " + tensor, "run turbo-pi build");
  return shape[index];
}

void requireSame(int64_t inferred, int64_t declared, const std::string& what) {
  require(inferred < 0 || inferred == declared,
          "the plans are of different models: " + what + " is " + std::to_string(inferred) + " in one and " +
              std::to_string(declared) + " in another",
          "run turbo-pi build");
}

ModelShape shapeOf(const Engine& vision, const Engine& prefix, const Engine& denoise) {
  ModelShape shape;
  shape.imageSize = dimension(vision, "images", 1, 4);
  // Inputs have the exporter's sizes; those of outputs are TensorRT's to infer, and may come out as dynamic.
  shape.imageTokens = dimension(prefix, "image_embeddings", 1, 3);
  shape.width = dimension(prefix, "image_embeddings", 2, 3);
  while (prefix.has(layerName("keys", static_cast<size_t>(shape.layers)))) ++shape.layers;
  shape.kvHeads = dimension(denoise, "keys.0", 1, 4);
  shape.headDim = dimension(denoise, "keys.0", 3, 4);
  // The graph serves any horizon; the plan was built for one.
  shape.horizon = dimension(denoise, "x", 1, 3) < 0 ? profileMax(denoise, "x", 0, 1) : dimension(denoise, "x", 1, 3);
  shape.actionDim = dimension(denoise, "x", 2, 3);
  shape.modulation = dimension(denoise, "modulation", 0, 1);
  shape.state = denoise.has("state");
  shape.given = denoise.has("given_modulation");
  shape.element = elementOf(prefix, "keys.0");

  requireSame(dimension(vision, "image_embeddings", 1, 3), shape.imageTokens, "the tokens of an image");
  requireSame(dimension(vision, "image_embeddings", 2, 3), shape.width, "the prefix width");
  requireSame(dimension(prefix, "keys.0", 1, 4), shape.kvHeads, "the number of K/V heads");
  requireSame(dimension(prefix, "keys.0", 3, 4), shape.headDim, "the head size");
  require(
      denoise.has(layerName("keys", static_cast<size_t>(shape.layers - 1))) &&
          !denoise.has(layerName("keys", static_cast<size_t>(shape.layers))),
      "the plans are of different models: the prefix has " + std::to_string(shape.layers) + " layers, denoise has not",
      "run turbo-pi build");
  require(elementOf(vision, "image_embeddings") == shape.element &&
              elementOf(prefix, "image_embeddings") == shape.element && elementOf(denoise, "keys.0") == shape.element,
          "the plans are of different precisions", "run turbo-pi build");
  requireType(vision, "images", nvinfer1::DataType::kUINT8);
  for (const char* name : {"tokens", "source", "lengths"}) requireType(prefix, name, nvinfer1::DataType::kINT64);
  requireType(denoise, "lengths", nvinfer1::DataType::kINT64);
  for (const char* name : {"x", "x_next", "velocity", "modulation", "update", "target"})
    requireType(denoise, name, nvinfer1::DataType::kFLOAT);

  shape.maxBatch = std::min(profileMax(denoise, "x", 0, 0), profileMax(prefix, "source", 0, 0));
  shape.maxImages = profileMax(vision, "images", 0, 0);
  shape.maxPrefix = profileMax(denoise, "keys.0", 0, 2);
  for (int profile = 0; profile < prefix.profiles(); ++profile)
    shape.tokenBuckets.push_back(profileMax(prefix, "tokens", profile, 0) / shape.maxBatch);
  require(std::is_sorted(shape.tokenBuckets.begin(), shape.tokenBuckets.end()),
          "the prefix profiles are not in ascending order", "run turbo-pi build");
  return shape;
}

size_t largestScratch(const Engine& engine) {
  size_t most = 0;
  for (int profile = 0; profile < engine.profiles(); ++profile) most = std::max(most, engine.scratchBytes(profile));
  return most;
}

class SingleStage final : public Stage {
 public:
  SingleStage(const Engine& engine, int profile, const cuda::Stream& stream, Scratch scratch)
      : context(engine, profile, stream, scratch.address, scratch.bytes) {}
  void enqueue(const cuda::Stream& stream, int) override { context.enqueue(stream); }
  ExecutionContext context;
};

class DenoiseStage final : public Stage {
 public:
  DenoiseStage(const Engine& engine, DenoiseCall call, const cuda::Stream& stream, Scratch scratch)
      : context(engine, 0, stream, scratch.address, scratch.bytes), call_(std::move(call)) {}
  void enqueue(const cuda::Stream& stream, int step) override {
    context.bind("x", call_.x[step % 2]);
    context.bind("x_next", call_.x[1 - step % 2]);
    context.bind("modulation", call_.modulation + static_cast<size_t>(step) * call_.modulationStride);
    context.bind("update", call_.updates + static_cast<size_t>(step) * call_.updateStride);
    context.enqueue(stream);
  }
  ExecutionContext context;

 private:
  DenoiseCall call_;
};

void bindCache(ExecutionContext& context, const std::vector<cuda::DevicePtr>& keys,
               const std::vector<cuda::DevicePtr>& values) {
  for (size_t layer = 0; layer < keys.size(); ++layer) {
    context.bind(layerName("keys", layer), keys[layer]);
    context.bind(layerName("values", layer), values[layer]);
  }
}

class EngineStages final : public StageMaker {
 public:
  EngineStages(std::unique_ptr<Engine> vision, std::unique_ptr<Engine> prefix, std::unique_ptr<Engine> denoise)
      : vision_(std::move(vision)),
        prefix_(std::move(prefix)),
        denoise_(std::move(denoise)),
        shape_(shapeOf(*vision_, *prefix_, *denoise_)) {}

  const ModelShape& shape() const override { return shape_; }
  size_t visionScratch() const override { return largestScratch(*vision_); }
  size_t prefixScratch() const override { return largestScratch(*prefix_); }
  size_t denoiseScratch() const override { return largestScratch(*denoise_); }

  std::unique_ptr<Stage> vision(const VisionCall& call, const cuda::Stream& stream, Scratch scratch) override {
    auto stage = std::make_unique<SingleStage>(*vision_, 0, stream, scratch);
    stage->context.shape("images", {call.images, shape_.imageSize, shape_.imageSize, 3});
    stage->context.bind("images", call.pixels);
    stage->context.bind("image_embeddings", call.embeddings);
    return stage;
  }

  std::unique_ptr<Stage> prefix(const PrefixCall& call, const cuda::Stream& stream, Scratch scratch) override {
    const int profile = bucketOf(shape_, call.batch, call.tokenCount);
    auto stage = std::make_unique<SingleStage>(*prefix_, profile, stream, scratch);
    ExecutionContext& context = stage->context;
    context.shape("image_embeddings", {call.images, shape_.imageTokens, shape_.width});
    context.shape("tokens", {call.tokenCount});
    context.shape("source", {call.batch, call.prefixLength});
    context.shape("lengths", {call.batch});
    context.bind("image_embeddings", call.embeddings);
    context.bind("tokens", call.tokens);
    context.bind("source", call.source);
    context.bind("lengths", call.lengths);
    bindCache(context, call.keys, call.values);
    return stage;
  }

  std::unique_ptr<Stage> denoise(const DenoiseCall& call, const cuda::Stream& stream, Scratch scratch) override {
    auto stage = std::make_unique<DenoiseStage>(*denoise_, call, stream, scratch);
    ExecutionContext& context = stage->context;
    context.shape("x", {call.batch, shape_.horizon, shape_.actionDim});
    context.shape("update", {call.batch, shape_.horizon, 3});
    context.shape("target", {call.batch, shape_.horizon, shape_.actionDim});
    context.shape("lengths", {call.batch});
    for (size_t layer = 0; layer < call.keys.size(); ++layer)
      for (const char* kind : {"keys", "values"})
        context.shape(layerName(kind, layer), {call.batch, shape_.kvHeads, call.prefixLength, shape_.headDim});
    if (shape_.state) {
      context.shape("state", {call.batch, shape_.actionDim});
      context.bind("state", call.state);
    }
    context.bind("velocity", call.velocity);
    context.bind("target", call.target);
    if (shape_.given) context.bind("given_modulation", call.givenModulation);
    context.bind("lengths", call.lengths);
    bindCache(context, call.keys, call.values);
    return stage;
  }

 private:
  std::unique_ptr<Engine> vision_;
  std::unique_ptr<Engine> prefix_;
  std::unique_ptr<Engine> denoise_;
  ModelShape shape_;
};

std::unique_ptr<Engine> openEngine(const trt::LibraryPtr& library, const char* graph, const PlanSet::Plan& plan,
                                   const LogSink& log) {
  const trt::PlanFile file(plan.path, plan.key);
  return std::make_unique<Engine>(library, graph, file.plan(), file.size(), log);
}

}  // namespace

std::unique_ptr<StageMaker> openEngines(const trt::LibraryPtr& library, const PlanSet& plans, const LogSink& log) {
  return std::make_unique<EngineStages>(openEngine(library, "vision", plans.vision, log),
                                        openEngine(library, "prefix", plans.prefix, log),
                                        openEngine(library, "denoise", plans.denoise, log));
}

}  // namespace turbopi::pi05
