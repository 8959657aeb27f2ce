#pragma once

#include "pi05/cuda_shared.h"
#include "pi05/stage.h"

namespace turbopi::pi05 {

/// What enters the expert: action rows of one step as tokens [batch·suffix, width] in float32 (network §3.6).
/// `scratch` takes suffixTokensBytes.
void suffixTokens(const CudaShared& shared, const cuda::Stream& stream, const DenoiseCall& call, int step,
                  cuda::DevicePtr tokens, cuda::DevicePtr scratch);
size_t suffixTokensBytes(const CudaModel& model, int64_t batch);

/// Scale, shift and gate of one adaptive norm in a step's constants, or pi0's plain norm weight.
struct NormConstants {
  cuda::DevicePtr scale = 0;
  float scaleOffset = 0;
  cuda::DevicePtr shift = 0;
  /// Of the sub-layer's output; 0 where there is none.
  cuda::DevicePtr gate = 0;
  kernels::GivenRows given = {};
};
/// The last operation of a step: velocities [batch·suffix, actionDim] → the next actions.
void updateActions(const CudaShared& shared, const cuda::Stream& stream, const DenoiseCall& call, int step,
                   cuda::DevicePtr velocities);
NormConstants expertNorm(const CudaShared& shared, const DenoiseCall& call, int step, int norm);

}  // namespace turbopi::pi05
