#pragma once

#include <string>
#include <vector>

#include "pi05/session.h"

namespace turbopi::pi05 {

inline constexpr int kMostSteps = 50;

inline size_t bytes(int64_t count, size_t each) { return static_cast<size_t>(count) * each; }

/// Of one step's factors, aligned for an engine to read.
inline size_t updateBytes(const ModelShape& shape) {
  return cuda::aligned(bytes(shape.updateFloats(shape.maxBatch), sizeof(float)));
}

/// One held prefix: its keys and values on the device, and the pinned staging of the jobs that use it.
struct Session::Slot {
  Slot(const cuda::DriverPtr& driver, const ModelShape& shape)
      : pixels(driver, bytes(shape.maxImages * shape.imageBytes(), 1)),
        tokens(driver, bytes(shape.maxTokens(), sizeof(int64_t))),
        source(driver, bytes(shape.maxBatch * shape.maxPrefix, sizeof(int64_t))),
        lengthsHost(driver, bytes(shape.maxBatch, sizeof(int64_t))),
        noise(driver, bytes(shape.actionFloats(shape.maxBatch), sizeof(float))),
        updates(driver, kMostSteps * updateBytes(shape)),
        targets(driver, bytes(shape.actionFloats(shape.maxBatch), sizeof(float))),
        stateHost(driver, bytes(shape.maxBatch * shape.actionDim, sizeof(float))),
        actions(driver, bytes(shape.actionFloats(shape.maxBatch), sizeof(float))),
        perceiveStart(driver, true),
        visionEnd(driver, true),
        ready(driver, true),
        actStart(driver, true),
        denoiseEnd(driver, true),
        actEnd(driver, true) {}

  cuda::PinnedBuffer pixels, tokens, source, lengthsHost, noise, updates, targets, stateHost, actions;
  cuda::DevicePtr lengths = 0;
  std::vector<cuda::DevicePtr> keys;
  std::vector<cuda::DevicePtr> values;
  cuda::Event perceiveStart, visionEnd, ready, actStart, denoiseEnd, actEnd;
  int64_t index = 0;
  /// Of the prefix in the slot; 0 until one was started.
  int64_t batch = 0;
  int64_t prefixLength = 0;
  int64_t actBatch = 0;
  bool perceiving = false;
  bool acting = false;
};

/// The constants of one step count: one aligned row a step, then that of given rows.
struct Session::StepTable {
  StepTable(const cuda::DriverPtr& driver, int64_t rows, int64_t modulation)
      : stride(cuda::aligned(bytes(modulation, sizeof(float)))), block(driver, bytes(rows, stride)) {}

  size_t stride;
  cuda::DeviceBuffer block;
};

}  // namespace turbopi::pi05
