#include "float8.cuh"

/// Rows of bf16 to 8-bit floats, a block a row; reads each row twice, the second time from the cache.
namespace turbopi::kernels {

/// To 8 bits and back, in place: the reference, whose products are then those of bf16. Of weights the scales are kept.
__device__ __forceinline__ void roundRow(bf16* row, int width, float* scale) {
  const float s = rowScale(row, width);
  const float factor = 1.0f / s;
  if (scale && threadIdx.x == 0) *scale = s;
  for (int i = threadIdx.x * 4; i < width; i += blockDim.x * 4) {
    const float4 v = fourOf(row, i);
    const unsigned bytes = float8Bytes(v.x * factor, v.y * factor, v.z * factor, v.w * factor);
    for (int e = 0; e < 4; ++e) row[i + e] = narrow<bf16>(fromFloat8(bytes >> 8 * e & 0xff) * s);
  }
}

}  // namespace turbopi::kernels

using namespace turbopi::kernels;

/// Rows of `width`; `scales` is one float a row, or null.
extern "C" __global__ void __launch_bounds__(256) float8_round_rows(bf16* rows, int width, float* scales) {
  letLaterStart();
  awaitEarlier();
  roundRow(rows + static_cast<long long>(blockIdx.x) * width, width, scales ? scales + blockIdx.x : nullptr);
}

/// Activations for a product of 8-bit floats. Floor: 3 bytes an element.
extern "C" __global__ void __launch_bounds__(256)
    float8_rows(const bf16* rows, unsigned char* to, float* scales, int width) {
  letLaterStart();
  awaitEarlier();
  const long long at = static_cast<long long>(blockIdx.x) * width;
  const float scale = storeFloat8(rows + at, to + at, width);
  if (threadIdx.x == 0) scales[blockIdx.x] = scale;
}
