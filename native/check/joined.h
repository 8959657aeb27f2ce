#pragma once

#include <string>
#include <vector>

#include "pi05/cuda_stages.h"
#include "pi05/session.h"

namespace turbopi::check {

/// Copies of rows against the host's, bit by bit; joined and kept rows against the same rows in their own batches; times of
/// both, and what a captured graph takes. Returns how many checks failed.
int checkJoined(const cuda::DriverPtr& driver, const std::string& kernels, const pi05::CudaModel& model);

/// Contexts that are destroyed under sessions of two layers: a session fails with the reason while that of another card goes
/// on, both are closed, and another is opened. No context may be held.
int checkBroken(const cuda::DriverPtr& driver, const std::string& kernels, pi05::CudaModel model);

}  // namespace turbopi::check
