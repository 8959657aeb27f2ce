#pragma once

#include <vector>

#include "pi05/cuda_stages.h"
#include "pi05/session.h"

namespace turbopi::check {

/// Pi0.5 (or Pi0) at full size, for batches of up to `rows`.
pi05::CudaModel fullModel(int horizon, bool pi05, int rows);

/// A seed for each of the model's tensors.
std::vector<pi05::WeightSource> randomWeights(const pi05::CudaModel& m);

/// `batch` rows of `cameras` pictures and `tokens` tokens, the odd ones shorter by `ragged`.
pi05::PerceiveInput observation(const pi05::CudaModel& m, int batch, int cameras, int tokens, int ragged);

/// Gaussian noise and the updates of `steps` Euler steps.
pi05::ActInput noise(const pi05::CudaModel& m, int batch, int steps);

/// Sine and cosine embeddings of the times 1, 1 − 1/N … (network §3.6).
std::vector<float> timeEmbeddings(const pi05::CudaModel& m, int steps);

}  // namespace turbopi::check
