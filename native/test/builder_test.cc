#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include "check.h"
#include "toy_gpu.h"

using namespace turbopi;

static trt::BuildRequest request(const std::string& directory, const std::string& graph) {
  return {graph, directory + "/" + graph + ".onnx", toy::profiles(graph, false), 3, directory + "/timings"};
}

static std::string contentOf(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST("a build reports its progress and keeps the timing cache") {
  const std::string directory = toy::temporaryDirectory();
  toy::writeModel(directory);
  const auto library = trt::Library::load();
  CHECK(library->version() == "10.13.3.9");
  const std::atomic<bool> never{false};
  std::vector<int> steps;
  const auto plan = trt::buildPlan(library, request(directory, "vision"),
                                   [&](const std::string& phase, int step, int of) {
                                     CHECK(phase == "Tactics" && of == 10);
                                     steps.push_back(step);
                                   },
                                   never, {});
  CHECK(plan->size() > 0 && steps.front() == 0 && steps.back() == 10 && steps.size() == 11);
  CHECK(contentOf(directory + "/timings") == "timings+");
  trt::buildPlan(library, request(directory, "vision"), {}, never, {});
  CHECK(contentOf(directory + "/timings") == "timings++");
  toy::writeFile(directory + "/timings", "of another GPU");
  trt::buildPlan(library, request(directory, "vision"), {}, never, {});
  CHECK(contentOf(directory + "/timings") == "timings+");
}

TEST("a build that is called off ends soon, as cancelled") {
  const std::string directory = toy::temporaryDirectory();
  toy::writeModel(directory);
  std::atomic<bool> cancelled{false};
  int reports = 0;
  const std::string reason = check::thrownBy([&] {
    trt::buildPlan(trt::Library::load(), request(directory, "denoise"),
                   [&](const std::string&, int step, int) {
                     ++reports;
                     if (step == 3) cancelled = true;
                   },
                   cancelled, {});
  });
  CHECK(reason == "cancelled" && reports == 4);
  CHECK(check::thrownBy([&] {
          trt::buildPlan(trt::Library::load(), request(directory, "vision"), {}, cancelled, {});
        }) == "cancelled");
}

TEST("a graph that the parser refuses is reported in the parser's words") {
  const std::string directory = toy::temporaryDirectory();
  toy::writeModel(directory);
  toy::writeFile(directory + "/vision.onnx", toy::onnx("unknown", "weights.bin", 64, 4));
  const std::atomic<bool> never{false};
  CHECK_SAYS(
      check::thrownBy([&] { trt::buildPlan(trt::Library::load(), request(directory, "vision"), {}, never, {}); }),
      "the model has no toy graph (node 0)");
}

TEST("a library older than the headers is refused, and so is another major version") {
  setenv("FAKE_TENSORRT_VERSION", "101202", 1);
  CHECK_SAYS(check::thrownBy([] { trt::Library::load(); }),
             "the installed TensorRT is 10.12.2.9, this addon was built for 10.13");
  setenv("FAKE_TENSORRT_VERSION", "110100", 1);
  CHECK_SAYS(check::thrownBy([] { trt::Library::load(); }), "the installed TensorRT is 11.1.0.9");
  setenv("FAKE_TENSORRT_VERSION", "101600", 1);
  CHECK(trt::Library::load()->version() == "10.16.0.9");
  unsetenv("FAKE_TENSORRT_VERSION");
}

TEST("a machine without a GPU, or with an old driver, is refused with a reason") {
  setenv("FAKE_CUDA_DEVICES", "0", 1);
  CHECK_SAYS(check::thrownBy([] { cuda::Driver::load(); }), "finds no GPU");
  unsetenv("FAKE_CUDA_DEVICES");
  setenv("FAKE_CUDA_VERSION", "11080", 1);
  CHECK_SAYS(check::thrownBy([] { cuda::Driver::load(); }), "supports CUDA 11.8, at least 12.0 is needed");
  unsetenv("FAKE_CUDA_VERSION");
  CHECK_SAYS(check::thrownBy([] { cuda::Driver::load()->device(3); }), "GPU 3 was asked for, there are 1");
}

TEST("a plan of bytes that TensorRT does not know is refused with its reason") {
  const std::string junk = "junk";
  CHECK_SAYS(check::thrownBy([&] { trt::Engine(trt::Library::load(), "vision", junk.data(), junk.size(), {}); }),
             "TensorRT refused the plan of vision: the plan is not one of this version");
}

TEST("the error recorder keeps what it can hold and says when there was more") {
  trt::ErrorRecorder recorder;
  for (int i = 0; i < 20; ++i) recorder.reportError(nvinfer1::ErrorCode::kINTERNAL_ERROR, std::to_string(i).c_str());
  CHECK(recorder.getNbErrors() == 16 && recorder.hasOverflowed() && std::string(recorder.getErrorDesc(15)) == "15");
  CHECK(recorder.getErrorCode(0) == nvinfer1::ErrorCode::kINTERNAL_ERROR &&
        std::string(recorder.getErrorDesc(99)).empty());
  CHECK(recorder.incRefCount() == 1 && recorder.decRefCount() == 0);
  CHECK_SAYS(recorder.explain("failed"), "failed: 0: 1");
  CHECK(recorder.getNbErrors() == 0 && !recorder.hasOverflowed());
}

TEST("messages reach the log sink by level, and a sink that throws harms nothing") {
  std::string seen;
  trt::Logger logger([&](LogLevel level, const std::string& text) {
    seen += std::to_string(static_cast<int>(level)) + text + " ";
    throw Error("no");
  });
  using Severity = nvinfer1::ILogger::Severity;
  logger.log(Severity::kERROR, "e");
  logger.log(Severity::kWARNING, "w");
  logger.log(Severity::kVERBOSE, "v");
  logger.log(Severity::kINFO, "i");
  CHECK(seen == "0e 1w 2i ");
}
