#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "pi05/session.h"

namespace turbopi::pi05 {

inline constexpr int kMostSteps = 50;

inline void requireInput(bool condition, const std::string& reason) {
  if (!condition) throw InvalidInput(reason);
}

inline size_t bytes(int64_t count, size_t each) { return static_cast<size_t>(count) * each; }

/// Of one step's factors, aligned for an engine to read.
inline size_t updateBytes(const ModelShape& shape) {
  return cuda::aligned(bytes(shape.updateFloats(shape.maxBatch), sizeof(float)));
}

/// Of the table that says which rows are copied, for as many as a batch has.
inline size_t copyTableBytes(const ModelShape& shape) { return bytes(shape.maxBatch, sizeof(kernels::RowCopy)); }

/// Keys and values of a batch on the device, as the graphs write and read them.
struct Session::KeyValues {
  /// From one matrix to the next: layer 0's keys, its values, layer 1's keys …
  size_t stride = 0;
  cuda::DevicePtr lengths = 0;
  std::vector<cuda::DevicePtr> keys;
  std::vector<cuda::DevicePtr> values;
  /// In the names of captured graphs.
  int64_t index = 0;
  /// Of the prefix that lies there; 0 until there is one.
  int64_t batch = 0;
  int64_t prefixLength = 0;
};

/// Where one row of keys and values lies: its part of the first matrix.
struct RowAddress {
  cuda::DevicePtr first = 0;
  size_t stride = 0;
  /// Of a head, those behind the row's length among them.
  int64_t places = 0;
};

/// One held prefix, and the pinned staging of the perceive that fills it.
struct Session::Slot {
  Slot(const cuda::DriverPtr& driver, const ModelShape& shape)
      : pixels(driver, bytes(shape.maxImages * shape.imageBytes(), 1)),
        tokens(driver, bytes(shape.maxTokens(), sizeof(int64_t))),
        source(driver, bytes(shape.maxBatch * shape.maxPrefix, sizeof(int64_t))),
        lengths(driver, bytes(shape.maxBatch, sizeof(int64_t))),
        copies(driver, copyTableBytes(shape)),
        start(driver, true),
        visionEnd(driver, true),
        ready(driver, true),
        read(driver, false) {}

  cuda::PinnedBuffer pixels, tokens, source, lengths, copies;
  KeyValues held;
  cuda::Event start, visionEnd, ready;
  /// Acts no longer read what is held.
  cuda::Event read;
  /// Places of the rows that the perceive under way keeps.
  std::vector<int> keeping;
  bool perceiving = false;
};

/// The pinned staging of one act.
struct Session::Act {
  Act(const cuda::DriverPtr& driver, const ModelShape& shape)
      : noise(driver, bytes(shape.actionFloats(shape.maxBatch), sizeof(float))),
        updates(driver, kMostSteps * updateBytes(shape)),
        targets(driver, bytes(shape.actionFloats(shape.maxBatch), sizeof(float))),
        state(driver, bytes(shape.maxBatch * shape.actionDim, sizeof(float))),
        actions(driver, bytes(shape.actionFloats(shape.maxBatch), sizeof(float))),
        copies(driver, copyTableBytes(shape)),
        start(driver, true),
        denoiseEnd(driver, true),
        end(driver, true) {}

  cuda::PinnedBuffer noise, updates, targets, state, actions, copies;
  cuda::Event start, denoiseEnd, end;
  int64_t batch = 0;
};

/// A row that is kept beyond its slot.
struct Session::KeptRow {
  /// 0 until one was kept here.
  int64_t length = 0;
  int64_t prefixLength = 0;
  /// The perceive that keeps it is under way.
  bool filling = false;
};

/// The constants of one step count: one aligned row a step, then that of given rows.
struct Session::StepTable {
  StepTable(const cuda::DriverPtr& driver, int64_t rows, int64_t modulation)
      : stride(cuda::aligned(bytes(modulation, sizeof(float)))), block(driver, bytes(rows, stride)) {}

  size_t stride;
  cuda::DeviceBuffer block;
};

}  // namespace turbopi::pi05
