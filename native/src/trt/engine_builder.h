#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "trt/engine.h"
#include "trt/library.h"

namespace turbopi::trt {

/// The shapes that one optimization profile takes for one input.
struct InputRange {
  std::string tensor;
  Shape min;
  Shape opt;
  Shape max;
};

struct BuildRequest {
  std::string graph;
  std::string onnxPath;
  std::vector<std::vector<InputRange>> profiles;
  /// TensorRT's builder optimization level, 0…5.
  int optimizationLevel = 3;
  /// Read before and written after the build when not empty.
  std::string timingCachePath;
};

/// Called with the phase TensorRT is in and how far it is; on a thread of TensorRT's.
using BuildProgress = std::function<void(const std::string& phase, int step, int steps)>;

/// Builds a plan from an ONNX graph and its weights. Throws Cancelled soon after `cancelled` becomes true, and Error
/// with the parser's or the builder's own reasons otherwise.
std::unique_ptr<nvinfer1::IHostMemory> buildPlan(const LibraryPtr& library, const BuildRequest& request,
                                                 const BuildProgress& progress, const std::atomic<bool>& cancelled,
                                                 const LogSink& log);

}  // namespace turbopi::trt
