#include "trt/engine_builder.h"

#include <map>
#include <mutex>

#include "base/error.h"
#include "trt/weight_source.h"

namespace turbopi::trt {
namespace {

// From TensorRT 11 on every network is strongly typed and the flag is deprecated.
#if NV_TENSORRT_MAJOR < 11
constexpr uint32_t kNetworkFlags =
    1U << static_cast<uint32_t>(nvinfer1::NetworkDefinitionCreationFlag::kSTRONGLY_TYPED);
#else
constexpr uint32_t kNetworkFlags = 0;
#endif

class ProgressMonitor final : public nvinfer1::IProgressMonitor {
 public:
  ProgressMonitor(const BuildProgress& progress, const std::atomic<bool>& cancelled)
      : progress_(progress), cancelled_(cancelled) {}

  void phaseStart(const char* phase, const char*, int32_t steps) noexcept override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      steps_[phase] = steps;
    }
    report(phase, 0);
  }
  bool stepComplete(const char* phase, int32_t step) noexcept override {
    report(phase, step + 1);
    return !cancelled_;
  }
  void phaseFinish(const char* phase) noexcept override {
    const std::lock_guard<std::mutex> lock(mutex_);
    steps_.erase(phase);
  }

 private:
  void report(const char* phase, int step) noexcept {
    if (!progress_) return;
    try {
      int steps = 0;
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        steps = steps_[phase];
      }
      progress_(phase, step, steps);
    } catch (...) {
      // Progress that can not be shown must not end the build.
    }
  }

  const BuildProgress& progress_;
  const std::atomic<bool>& cancelled_;
  std::mutex mutex_;
  std::map<std::string, int> steps_;
};

nvinfer1::Dims dimsOf(const Shape& shape) {
  nvinfer1::Dims dims{};
  dims.nbDims = static_cast<int32_t>(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) dims.d[i] = shape[i];
  return dims;
}

std::string parserReasons(const nvonnxparser::IParser& parser, const std::string& what) {
  std::string reasons = what;
  for (int i = 0; i < parser.getNbErrors(); ++i) {
    const nvonnxparser::IParserError* error = parser.getError(i);
    reasons += std::string("; ") + error->desc() + " (node " + std::to_string(error->node()) + ")";
  }
  return reasons;
}

void addProfiles(nvinfer1::IBuilder& builder, nvinfer1::IBuilderConfig& config, const BuildRequest& request) {
  for (const auto& ranges : request.profiles) {
    nvinfer1::IOptimizationProfile* profile = builder.createOptimizationProfile();
    require(profile != nullptr, "TensorRT could not make an optimization profile");
    for (const InputRange& range : ranges) {
      const char* name = range.tensor.c_str();
      const bool ok = profile->setDimensions(name, nvinfer1::OptProfileSelector::kMIN, dimsOf(range.min)) &&
                      profile->setDimensions(name, nvinfer1::OptProfileSelector::kOPT, dimsOf(range.opt)) &&
                      profile->setDimensions(name, nvinfer1::OptProfileSelector::kMAX, dimsOf(range.max));
      require(ok, "TensorRT refused the shapes " + text(range.min) + " … " + text(range.max) + " of " + range.tensor);
    }
    require(config.addOptimizationProfile(profile) >= 0,
            "TensorRT refused an optimization profile of " + request.graph);
  }
}

/// A timing cache of another TensorRT or GPU is refused by TensorRT itself; the build then starts from an empty one.
std::unique_ptr<nvinfer1::ITimingCache> loadTimingCache(nvinfer1::IBuilderConfig& config, const std::string& path) {
  std::unique_ptr<nvinfer1::ITimingCache> cache;
  std::unique_ptr<MappedFile> file;
  try {
    file = std::make_unique<MappedFile>(path);
    cache.reset(config.createTimingCache(file->data(), file->size()));
  } catch (const Error&) {
    // The first build has no cache yet.
  }
  if (cache == nullptr || !config.setTimingCache(*cache, false)) {
    cache.reset(config.createTimingCache(nullptr, 0));
    require(cache != nullptr && config.setTimingCache(*cache, false), "TensorRT could not make a timing cache");
  }
  return cache;
}

void saveTimingCache(const nvinfer1::IBuilderConfig& config, const std::string& path) {
  const nvinfer1::ITimingCache* cache = config.getTimingCache();
  if (cache == nullptr) return;
  const std::unique_ptr<nvinfer1::IHostMemory> bytes(cache->serialize());
  if (bytes != nullptr) writeFileAtomically(path, nullptr, 0, bytes->data(), bytes->size());
}

}  // namespace

std::unique_ptr<nvinfer1::IHostMemory> buildPlan(const LibraryPtr& library, const BuildRequest& request,
                                                 const BuildProgress& progress, const std::atomic<bool>& cancelled,
                                                 const LogSink& log) {
  if (cancelled) throw Cancelled();
  const WeightSource source(request.onnxPath);
  Logger logger(log);
  ErrorRecorder errors;
  ProgressMonitor monitor(progress, cancelled);
  const auto builder = library->createBuilder(logger);
  builder->setErrorRecorder(&errors);
  const std::unique_ptr<nvinfer1::INetworkDefinition> network(builder->createNetworkV2(kNetworkFlags));
  require(network != nullptr, errors.explain("TensorRT could not make a network"));
  const std::unique_ptr<nvinfer1::IBuilderConfig> config(builder->createBuilderConfig());
  require(config != nullptr, errors.explain("TensorRT could not make a builder configuration"));

  const auto parser = library->createParser(*network, logger);
  bool parsed = parser->loadModelProto(source.model().data(), source.model().size(), nullptr);
  for (const auto& weight : source.weights())
    parsed = parsed && parser->loadInitializer(weight.name.c_str(), weight.data, weight.size);
  parsed = parsed && parser->parseModelProto();
  require(parsed, parserReasons(*parser, "TensorRT could not read " + request.onnxPath));

  addProfiles(*builder, *config, request);
  config->setBuilderOptimizationLevel(request.optimizationLevel);
  config->setProgressMonitor(&monitor);
  std::unique_ptr<nvinfer1::ITimingCache> timings;
  if (!request.timingCachePath.empty()) timings = loadTimingCache(*config, request.timingCachePath);

  std::unique_ptr<nvinfer1::IHostMemory> plan(builder->buildSerializedNetwork(*network, *config));
  if (!request.timingCachePath.empty()) saveTimingCache(*config, request.timingCachePath);
  if (cancelled) throw Cancelled();
  require(plan != nullptr && plan->size() > 0, errors.explain("TensorRT could not build " + request.graph),
          "try a lower optimization level");
  return plan;
}

}  // namespace turbopi::trt
