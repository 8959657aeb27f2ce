#pragma once

#include <string>
#include <vector>

#include "pi05/cuda_stages.h"
#include "pi05/session.h"

namespace turbopi::check {

/// What the check runs on: random weights and frames of a model, as network.cc makes them.
struct JoinedInputs {
  std::vector<pi05::WeightSource> (*weights)(const pi05::CudaModel& model);
  pi05::PerceiveInput (*frame)(const pi05::CudaModel& model, int batch, int cameras, int tokens, int ragged);
  pi05::ActInput (*noise)(const pi05::CudaModel& model, int batch, int steps);
  std::vector<float> (*modulation)(const pi05::CudaModel& model, int steps);
};

/// Copies of rows against the host's, bit by bit; joined and kept rows against the same rows in their own batches; times of
/// both, and what a captured graph takes. Returns how many checks failed.
int checkJoined(const cuda::DriverPtr& driver, const std::string& kernels, const pi05::CudaModel& model,
                const JoinedInputs& inputs);

/// A context that is destroyed under a session of two layers: the session fails with a reason, is closed, and another is
/// opened. No context may be held.
int checkBroken(const cuda::DriverPtr& driver, const std::string& kernels, pi05::CudaModel model,
                const JoinedInputs& inputs);

}  // namespace turbopi::check
