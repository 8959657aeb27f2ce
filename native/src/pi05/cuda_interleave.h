#pragma once

#include "pi05/cuda_shared.h"

namespace turbopi::pi05 {

/// Rows of a layer's packed q|k|v, or k|v.
inline int64_t packedRows(const Transformer& t, bool keysAndValuesOnly) {
  return int64_t{(keysAndValuesOnly ? 0 : t.heads) + 2 * t.kvHeads} * t.headDim;
}

/// Puts all matrices, in their own memory, into the order in which the tuned products take them, and where a transformer has
/// its MLPs in 8-bit floats, those as bytes with the scales behind them. `patch`: room for the patches' weights, padded.
/// They are there when it returns.
void interleaveWeights(const CudaShared& shared, const cuda::Stream& stream, cuda::DevicePtr patch);

}  // namespace turbopi::pi05
