#include <NvInfer.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "fake_cuda.h"
#include "fake_network.h"
#include "toy_model.h"

/// The stand-in libnvinfer.so.10: builds "plans" that are a few lines of text and runs the toy model in them. It is
/// strict where TensorRT is: shapes outside the profile, missing addresses, and a capture before the first enqueue are
/// refused.

using namespace nvinfer1;
using turbopi::pi05::ModelShape;

namespace {

constexpr int64_t kScratchBytes = 1024;

int environment(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoi(text);
}

bool refuse(IErrorRecorder* recorder, const std::string& reason) {
  if (recorder != nullptr) recorder->reportError(ErrorCode::kINVALID_ARGUMENT, reason.c_str());
  return false;
}

struct Tensor {
  std::string name;
  DataType type;
  std::vector<int64_t> shape;
  bool input;
};

std::vector<Tensor> tensorsOf(const std::string& graph, const ModelShape& m, bool state) {
  std::vector<Tensor> out;
  const auto caches = [&](bool input) {
    for (int64_t layer = 0; layer < m.layers; ++layer)
      for (const char* kind : {"keys.", "values."})
        out.push_back({kind + std::to_string(layer), DataType::kFLOAT, {-1, m.kvHeads, -1, m.headDim}, input});
  };
  if (graph == "vision") {
    out.push_back({"images", DataType::kUINT8, {-1, m.imageSize, m.imageSize, 3}, true});
    out.push_back({"image_embeddings", DataType::kFLOAT, {-1, m.imageTokens, m.width}, false});
  } else if (graph == "prefix") {
    out.push_back({"image_embeddings", DataType::kFLOAT, {-1, m.imageTokens, m.width}, true});
    out.push_back({"tokens", DataType::kINT64, {-1}, true});
    out.push_back({"source", DataType::kINT64, {-1, -1}, true});
    out.push_back({"lengths", DataType::kINT64, {-1}, true});
    caches(false);
  } else {
    out.push_back({"x", DataType::kFLOAT, {-1, -1, m.actionDim}, true});
    out.push_back({"modulation", DataType::kFLOAT, {m.modulation}, true});
    // The variant with everything: rows that are given, too.
    if (state) out.push_back({"given_modulation", DataType::kFLOAT, {m.modulation}, true});
    out.push_back({"update", DataType::kFLOAT, {-1, -1, 3}, true});
    out.push_back({"target", DataType::kFLOAT, {-1, -1, m.actionDim}, true});
    out.push_back({"lengths", DataType::kINT64, {-1}, true});
    if (state) out.push_back({"state", DataType::kFLOAT, {-1, m.actionDim}, true});
    caches(true);
    out.push_back({"x_next", DataType::kFLOAT, {-1, m.horizon, m.actionDim}, false});
    out.push_back({"velocity", DataType::kFLOAT, {-1, m.horizon, m.actionDim}, false});
  }
  return out;
}

Dims dimsOf(const std::vector<int64_t>& shape) {
  Dims dims{};
  dims.nbDims = static_cast<int32_t>(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) dims.d[i] = shape[i];
  return dims;
}

using Range = std::map<int, std::vector<int64_t>>;
using Profile = std::map<std::string, Range>;

struct Plan {
  std::string graph;
  float scale = 0;
  std::vector<Profile> profiles;
};

std::string write(const Plan& plan) {
  std::ostringstream out;
  out << "toyplan " << plan.graph << " " << plan.scale << " " << plan.profiles.size() << "\n";
  for (const Profile& profile : plan.profiles) {
    out << profile.size() << "\n";
    for (const auto& tensor : profile)
      for (int selector = 0; selector < 3; ++selector) {
        const auto& dims = tensor.second.at(selector);
        out << tensor.first << " " << selector << " " << dims.size();
        for (const int64_t dim : dims) out << " " << dim;
        out << "\n";
      }
  }
  return out.str();
}

bool read(const std::string& text, Plan& plan) {
  std::istringstream in(text);
  std::string magic;
  size_t profiles = 0;
  if (!(in >> magic >> plan.graph >> plan.scale >> profiles) || magic != "toyplan") return false;
  for (size_t p = 0; p < profiles; ++p) {
    size_t tensors = 0;
    in >> tensors;
    Profile profile;
    for (size_t line = 0; line < tensors * 3; ++line) {
      std::string name;
      int selector = 0;
      size_t rank = 0;
      in >> name >> selector >> rank;
      std::vector<int64_t> dims(rank);
      for (int64_t& dim : dims) in >> dim;
      profile[name][selector] = dims;
    }
    plan.profiles.push_back(profile);
  }
  return static_cast<bool>(in);
}

class FakeMemory final : public IHostMemory {
 public:
  explicit FakeMemory(std::string bytes) : bytes_(std::move(bytes)) {}
  void* data() const noexcept override { return const_cast<char*>(bytes_.data()); }
  std::size_t size() const noexcept override { return bytes_.size(); }

 private:
  std::string bytes_;
};

/// One enqueue: the addresses and shapes as they were when it was called.
struct Launch {
  Plan plan;
  ModelShape model;
  std::map<std::string, void*> addresses;
  std::map<std::string, std::vector<int64_t>> shapes;
  std::byte* scratchAt = nullptr;

  template <typename T>
  T* at(const std::string& name) const {
    const auto found = addresses.find(name);
    return found == addresses.end() ? nullptr : static_cast<T*>(found->second);
  }

  void run() const {
    // Two contexts that share scratch and run at the same time would find one another's marks.
    std::memset(scratchAt, static_cast<int>(plan.graph[0]), kScratchBytes);
    if (plan.graph == "vision") {
      turbopi::toy::vision(model, shapes.at("images")[0], at<uint8_t>("images"), plan.scale,
                           at<float>("image_embeddings"));
    } else if (plan.graph == "prefix") {
      const auto& source = shapes.at("source");
      for (int64_t layer = 0; layer < model.layers; ++layer)
        for (const float sign : {1.0f, -1.0f})
          turbopi::toy::cache(model, shapes.at("image_embeddings")[0], source[0], source[1],
                              at<float>("image_embeddings"), at<int64_t>("tokens"), at<int64_t>("source"), layer, sign,
                              at<float>((sign > 0 ? "keys." : "values.") + std::to_string(layer)));
    } else {
      std::vector<const float*> keys;
      std::vector<const float*> values;
      for (int64_t layer = 0; layer < model.layers; ++layer) {
        keys.push_back(at<float>("keys." + std::to_string(layer)));
        values.push_back(at<float>("values." + std::to_string(layer)));
      }
      turbopi::toy::denoise(model, shapes.at("x")[0], shapes.at("keys.0")[2], at<float>("x"), at<float>("modulation"),
                            at<float>("given_modulation"), at<float>("update"), at<float>("target"),
                            at<int64_t>("lengths"), at<float>("state"), keys.data(), values.data(), at<float>("x_next"),
                            at<float>("velocity"));
    }
    for (int64_t i = 0; i < kScratchBytes; ++i)
      if (scratchAt[i] != static_cast<std::byte>(plan.graph[0])) std::abort();
  }
};

class FakeContext final : public IExecutionContext {
 public:
  FakeContext(Plan plan, ModelShape model, std::vector<Tensor> tensors)
      : plan_(std::move(plan)), model_(std::move(model)), tensors_(std::move(tensors)) {}

  void setErrorRecorder(IErrorRecorder* recorder) noexcept override { recorder_ = recorder; }
  void setDeviceMemoryV2(void* memory, int64_t size) noexcept override {
    scratch_ = size >= kScratchBytes ? static_cast<std::byte*>(memory) : nullptr;
  }
  bool setOptimizationProfileAsync(int32_t profile, cudaStream_t) noexcept override {
    if (profile < 0 || static_cast<size_t>(profile) >= plan_.profiles.size())
      return refuse(recorder_, "no such profile");
    profile_ = profile;
    return true;
  }
  bool setInputShape(const char* tensor, const Dims& dims) noexcept override {
    const Profile& profile = plan_.profiles[static_cast<size_t>(profile_)];
    const auto range = profile.find(tensor);
    const std::vector<int64_t> shape(dims.d, dims.d + dims.nbDims);
    if (range == profile.end() || range->second.at(0).size() != shape.size())
      return refuse(recorder_, std::string(tensor) + " is no dynamic input of this rank");
    for (size_t i = 0; i < shape.size(); ++i)
      if (shape[i] < range->second.at(0)[i] || shape[i] > range->second.at(2)[i])
        return refuse(recorder_, std::string(tensor) + ": dimension " + std::to_string(i) + " is outside the profile");
    shapes_[tensor] = shape;
    fresh_ = true;
    return true;
  }
  bool setTensorAddress(const char* tensor, void* address) noexcept override {
    if (address == nullptr || reinterpret_cast<uintptr_t>(address) % 256 != 0)
      return refuse(recorder_, std::string(tensor) + ": the address is not aligned to 256 bytes");
    addresses_[tensor] = address;
    return true;
  }
  bool enqueueV3(cudaStream_t stream) noexcept override {
    for (const Tensor& tensor : tensors_) {
      if (addresses_.count(tensor.name) == 0) return refuse(recorder_, tensor.name + " has no address");
      const bool dynamic = plan_.profiles[static_cast<size_t>(profile_)].count(tensor.name) != 0;
      if (tensor.input && dynamic && shapes_.count(tensor.name) == 0)
        return refuse(recorder_, tensor.name + " has no shape");
    }
    if (scratch_ == nullptr) return refuse(recorder_, "no device memory was set");
    if (fresh_ && fakeCudaUncapturable(stream))
      return refuse(recorder_, "the first enqueue after a new shape can not be captured");
    fresh_ = false;
    auto* launch = new Launch{plan_, model_, addresses_, shapes_, scratch_};
    const int status = fakeCudaKernel(
        stream, plan_.graph.c_str(), [](void* data) { static_cast<Launch*>(data)->run(); },
        [](void* data) { delete static_cast<Launch*>(data); }, launch);
    return status == 0 || refuse(recorder_, "the kernel could not be launched");
  }

 private:
  Plan plan_;
  ModelShape model_;
  std::vector<Tensor> tensors_;
  IErrorRecorder* recorder_ = nullptr;
  std::byte* scratch_ = nullptr;
  int profile_ = 0;
  bool fresh_ = true;
  std::map<std::string, std::vector<int64_t>> shapes_;
  std::map<std::string, void*> addresses_;
};

class FakeEngine final : public ICudaEngine {
 public:
  explicit FakeEngine(Plan plan) : plan_(std::move(plan)), model_(turbopi::toy::smallShape()) {
    const bool state = !plan_.profiles.empty() && plan_.profiles.front().count("state") != 0;
    tensors_ = tensorsOf(plan_.graph, model_, state);
  }
  void setErrorRecorder(IErrorRecorder*) noexcept override {}
  int32_t getNbIOTensors() const noexcept override { return static_cast<int32_t>(tensors_.size()); }
  const char* getIOTensorName(int32_t index) const noexcept override {
    return tensors_[static_cast<size_t>(index)].name.c_str();
  }
  Dims getTensorShape(const char* name) const noexcept override { return dimsOf(find(name).shape); }
  DataType getTensorDataType(const char* name) const noexcept override { return find(name).type; }
  TensorLocation getTensorLocation(const char*) const noexcept override { return TensorLocation::kDEVICE; }
  int32_t getNbOptimizationProfiles() const noexcept override { return static_cast<int32_t>(plan_.profiles.size()); }
  Dims getProfileShape(const char* name, int32_t profile, OptProfileSelector selector) const noexcept override {
    const Profile& ranges = plan_.profiles[static_cast<size_t>(profile)];
    const auto found = ranges.find(name);
    if (found == ranges.end()) return Dims{-1, {}};
    return dimsOf(found->second.at(static_cast<int>(selector)));
  }
  int64_t getDeviceMemorySizeForProfileV2(int32_t) const noexcept override { return kScratchBytes; }
  IExecutionContext* createExecutionContext(ExecutionContextAllocationStrategy) noexcept override {
    return new FakeContext(plan_, model_, tensors_);
  }

 private:
  const Tensor& find(const char* name) const {
    for (const Tensor& tensor : tensors_)
      if (tensor.name == name) return tensor;
    std::abort();
  }

  Plan plan_;
  ModelShape model_;
  std::vector<Tensor> tensors_;
};

class FakeRuntime final : public IRuntime {
 public:
  void setErrorRecorder(IErrorRecorder* recorder) noexcept override { recorder_ = recorder; }
  ICudaEngine* deserializeCudaEngine(const void* plan, std::size_t size) noexcept override {
    Plan parsed;
    if (read(std::string(static_cast<const char*>(plan), size), parsed)) return new FakeEngine(parsed);
    refuse(recorder_, "the plan is not one of this version");
    return nullptr;
  }

 private:
  IErrorRecorder* recorder_ = nullptr;
};

class FakeProfile final : public IOptimizationProfile {
 public:
  bool setDimensions(const char* input, OptProfileSelector selector, const Dims& dims) noexcept override {
    ranges[input][static_cast<int>(selector)] = std::vector<int64_t>(dims.d, dims.d + dims.nbDims);
    return true;
  }
  Profile ranges;
};

class FakeTimingCache final : public ITimingCache {
 public:
  explicit FakeTimingCache(std::string bytes) : bytes(std::move(bytes)) {}
  IHostMemory* serialize() const noexcept override { return new FakeMemory(bytes + "+"); }
  std::string bytes;
};

class FakeConfig final : public IBuilderConfig {
 public:
  int32_t addOptimizationProfile(const IOptimizationProfile* profile) noexcept override {
    profiles.push_back(static_cast<const FakeProfile*>(profile)->ranges);
    return static_cast<int32_t>(profiles.size()) - 1;
  }
  void setBuilderOptimizationLevel(int32_t value) noexcept override { level = value; }
  void setProgressMonitor(IProgressMonitor* value) noexcept override { monitor = value; }
  ITimingCache* createTimingCache(const void* blob, std::size_t size) const noexcept override {
    return new FakeTimingCache(size == 0 ? "timings" : std::string(static_cast<const char*>(blob), size));
  }
  bool setTimingCache(const ITimingCache& value, bool) noexcept override {
    if (static_cast<const FakeTimingCache&>(value).bytes.rfind("timings", 0) != 0) return false;
    timings = &value;
    return true;
  }
  const ITimingCache* getTimingCache() const noexcept override { return timings; }

  std::vector<Profile> profiles;
  int level = 3;
  IProgressMonitor* monitor = nullptr;
  const ITimingCache* timings = nullptr;
};

class FakeBuilder final : public IBuilder {
 public:
  void setErrorRecorder(IErrorRecorder* recorder) noexcept override { recorder_ = recorder; }
  INetworkDefinition* createNetworkV2(uint32_t flags) noexcept override {
    const uint32_t typed = 1U << static_cast<uint32_t>(NetworkDefinitionCreationFlag::kSTRONGLY_TYPED);
    if ((flags & typed) != 0) return new FakeNetwork;
    refuse(recorder_, "the network is not strongly typed");
    return nullptr;
  }
  IBuilderConfig* createBuilderConfig() noexcept override { return new FakeConfig; }
  IOptimizationProfile* createOptimizationProfile() noexcept override {
    profiles_.push_back(std::make_unique<FakeProfile>());
    return profiles_.back().get();
  }
  IHostMemory* buildSerializedNetwork(INetworkDefinition& definition, IBuilderConfig& configuration) noexcept override {
    const auto& network = static_cast<FakeNetwork&>(definition);
    const auto& config = static_cast<FakeConfig&>(configuration);
    if (config.level > environment("FAKE_TENSORRT_CRASH_ABOVE", 9)) std::abort();
    constexpr int kTactics = 10;
    const auto pause = std::chrono::milliseconds(environment("FAKE_TENSORRT_TACTIC_MS", 1));
    if (config.monitor != nullptr) {
      config.monitor->phaseStart("Tactics", nullptr, kTactics);
      for (int step = 0; step < kTactics; ++step) {
        std::this_thread::sleep_for(pause);
        if (!config.monitor->stepComplete("Tactics", step)) {
          config.monitor->phaseFinish("Tactics");
          refuse(recorder_, "the build was stopped");
          return nullptr;
        }
      }
      config.monitor->phaseFinish("Tactics");
    }
    // A miscompilation, as horizontal fusion once made them: it goes away at a lower level or with fusion switched off.
    const bool fusionOff = std::getenv("__LUNOWUD") != nullptr;
    const bool wrong = !fusionOff && config.level > environment("FAKE_TENSORRT_WRONG_ABOVE", 9);
    return new FakeMemory(write({network.graph, network.scale + (wrong ? 100.0f : 0.0f), config.profiles}));
  }

 private:
  IErrorRecorder* recorder_ = nullptr;
  std::vector<std::unique_ptr<FakeProfile>> profiles_;
};

}  // namespace

extern "C" {
int turboPiFakeTensorRt() { return 1; }
int32_t getInferLibVersion() { return environment("FAKE_TENSORRT_VERSION", 101303); }
int32_t getInferLibBuildVersion() { return 9; }
void* createInferRuntime_INTERNAL(void*, int32_t) { return static_cast<IRuntime*>(new FakeRuntime); }
void* createInferBuilder_INTERNAL(void*, int32_t) { return static_cast<IBuilder*>(new FakeBuilder); }
}
