#pragma once

#include "pi05/cuda_shared.h"

namespace turbopi::pi05 {

/// Throws Error where the card has no 8-bit floats.
void requireFloat8(const cuda::DeviceInfo& device);

/// Rounds gate|up and down of every layer of a transformer to 8-bit floats and back, in place. `scales`: room for
/// mlpRows floats a layer, gate|up's rows and then down's; or 0.
void roundMlps(const CudaShared& shared, const cuda::Stream& stream, const char* transformer, const Transformer& sizes,
               cuda::DevicePtr scales = 0);
inline int64_t mlpRows(const Transformer& t) { return int64_t{2} * t.mlp + t.width; }

/// Rounds fc1 of every layer of the vision tower likewise.
void roundVision(const CudaShared& shared, const cuda::Stream& stream);

/// Rounds rows in place.
void roundRows(const CudaShared& shared, const cuda::Stream& stream, cuda::DevicePtr rows, int64_t count, int width);

/// Rows of bf16 to bytes and scales.
void float8Rows(const CudaShared& shared, const cuda::Stream& stream, cuda::DevicePtr rows, cuda::DevicePtr bytes,
                cuda::DevicePtr scales, int64_t count, int width);

}  // namespace turbopi::pi05
