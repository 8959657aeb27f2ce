#pragma once

#include <cstdlib>
#include <string>

#include "exec/gpu_thread.h"
#include "fake/fake_cuda.h"
#include "pi05/engine_stages.h"
#include "toy_files.h"
#include "toy_frame.h"
#include "trt/machine.h"

/// The toy model, built into plans once a test program, and opened on the stand-in GPU.
namespace turbopi::toy {

inline std::string temporaryDirectory() {
  std::string path = "/tmp/turbo-pi-test-XXXXXX";
  if (mkdtemp(path.data()) == nullptr) throw Error("mkdtemp failed");
  return path;
}

struct Plans {
  explicit Plans(bool state)
      : library(trt::Library::load()), driver(cuda::Driver::load()), directory(temporaryDirectory()) {
    writeModel(directory);
    const std::atomic<bool> never{false};
    const auto build = [&](const std::string& graph, pi05::PlanSet::Plan& plan) {
      plan.path = directory + "/" + graph + ".plan";
      plan.key.add("graph", graph);
      trt::addMachine(plan.key, *library, *driver, 0);
      const auto bytes = trt::buildPlan(
          library, {graph, directory + "/" + graph + ".onnx", profiles(graph, state), 3, {}}, {}, never, {});
      trt::PlanFile::write(plan.path, plan.key, bytes->data(), bytes->size());
    };
    build("vision", set.vision);
    build("prefix", set.prefix);
    build("denoise", set.denoise);
  }

  exec::OpenSession open(const pi05::SessionOptions& options) const {
    exec::OpenSession gpu;
    gpu.context = std::make_unique<cuda::Context>(driver, 0);
    gpu.context->makeCurrent();
    gpu.session = std::make_unique<pi05::Session>(driver, engines(), options);
    return gpu;
  }

  std::unique_ptr<pi05::StageMaker> engines() const { return pi05::openEngines(library, set, {}); }

  trt::LibraryPtr library;
  cuda::DriverPtr driver;
  std::string directory;
  pi05::PlanSet set;
};

inline const Plans& plans(bool state = false) {
  static const Plans without(false);
  static const Plans with(true);
  return state ? with : without;
}

}  // namespace turbopi::toy
