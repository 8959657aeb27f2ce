#include "float8.cuh"

/// Residual and norm in one pass over a row: what the products before left as partial sums is added to the residual
/// stream, which stays in float32, and the norm of the result goes to the products after (network §3.2, §3.3, §3.6).
///
/// A block has one row, a thread four columns. What does not depend on earlier kernels is loaded before they have ended,
/// and all parts at once: a norm is a chain of latencies.
///
/// Reads x and the partials once, writes x and the normed row once. Floor: rows·width·(8 + 4·partials + element) bytes.
namespace turbopi::kernels {

template <typename T>
__device__ __forceinline__ void store4(T* to, float4 v);
template <>
__device__ __forceinline__ void store4<float>(float* to, float4 v) {
  *reinterpret_cast<float4*>(to) = v;
}
template <>
__device__ __forceinline__ void store4<bf16>(bf16* to, float4 v) {
  __nv_bfloat162 pair[2] = {__floats2bfloat162_rn(v.x, v.y), __floats2bfloat162_rn(v.z, v.w)};
  *reinterpret_cast<uint2*>(to) = *reinterpret_cast<uint2*>(pair);
}

__device__ __forceinline__ float4 load4(const float* from, int i, bool there) {
  return there ? *reinterpret_cast<const float4*>(from + i) : make_float4(0, 0, 0, 0);
}

/// Over the block: one float of `shared` a warp, used for nothing else.
__device__ __forceinline__ float rowSum(float v, float* shared) {
  v = warpSum(v);
  if ((threadIdx.x & 31) == 0) shared[threadIdx.x >> 5] = v;
  __syncthreads();
  float all = 0;
  for (int i = 0; i < blockDim.x >> 5; ++i) all += shared[i];
  return all;
}

/// The normed row as 8-bit floats: rounded to bf16 first, so that it is what bf16's norm and float8_rows give.
__device__ __forceinline__ void storeFloat8(const Norm& p, long long at, bool there, float4 v) {
  __shared__ float largest[32];
  v = make_float4(wide(narrow<bf16>(v.x)), wide(narrow<bf16>(v.y)), wide(narrow<bf16>(v.z)), wide(narrow<bf16>(v.w)));
  const float most = warpMax(there ? largestOf(v) : 0.0f);
  if ((threadIdx.x & 31) == 0) largest[threadIdx.x >> 5] = most;
  __syncthreads();
  float all = 0;
  for (int i = 0; i < blockDim.x >> 5; ++i) all = fmaxf(all, largest[i]);
  const float scale = float8Scale(all);
  const float factor = 1.0f / scale;
  if (threadIdx.x == 0) p.scales[blockIdx.x] = scale;
  if (there)
    *reinterpret_cast<unsigned*>(static_cast<unsigned char*>(p.out) + at) =
        float8Bytes(v.x * factor, v.y * factor, v.z * factor, v.w * factor);
}

/// What `norm` writes: float, bf16, or 8-bit floats with a scale a row.
struct Float8 {};

template <typename T>
__device__ __forceinline__ void norm(const Norm& p) {
  __shared__ float sums[32], squares[32];
  letLaterStart();
  const int row = blockIdx.x;
  const int i = threadIdx.x * 4;
  const bool there = i < p.width;
  const long long constants = constantsOf(p.given, row);
  const float4 bias = load4(p.bias, i, there && p.bias);
  const float4 gate = load4(p.gate + constants, i, there && p.gate);
  const float4 scale = load4(p.scale + constants, i, there && p.out);
  const float4 shift = load4(p.shift + constants, i, there && p.out && p.shift);
  awaitEarlier();
  const long long plane = static_cast<long long>(p.rows) * p.width;
  const long long at = static_cast<long long>(row) * p.width + i;
  float4 v = load4(p.x + at, 0, there);
  if (p.partials > 0) {
    float4 parts[kMostPartials];
#pragma unroll
    for (int s = 0; s < kMostPartials; ++s) parts[s] = load4(p.partial + s * plane + at, 0, there && s < p.partials);
    float4 add = bias;
#pragma unroll
    for (int s = 0; s < kMostPartials; ++s)
      if (s < p.partials) add.x += parts[s].x, add.y += parts[s].y, add.z += parts[s].z, add.w += parts[s].w;
    if (p.gate) add.x *= gate.x, add.y *= gate.y, add.z *= gate.z, add.w *= gate.w;
    v.x += add.x, v.y += add.y, v.z += add.z, v.w += add.w;
    if (there) *reinterpret_cast<float4*>(p.x + at) = v;
  }
  if (p.out == nullptr) return;
  if (p.centred) {
    const float mean = rowSum(v.x + v.y + v.z + v.w, sums) / p.width;
    if (there) v.x -= mean, v.y -= mean, v.z -= mean, v.w -= mean;
  }
  const float variance = rowSum(v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w, squares) / p.width;
  const float factor = 1.0f / sqrtf(variance + p.epsilon);
  const float4 out =
      make_float4(v.x * factor * (scale.x + p.scaleOffset) + shift.x, v.y * factor * (scale.y + p.scaleOffset) + shift.y,
                  v.z * factor * (scale.z + p.scaleOffset) + shift.z, v.w * factor * (scale.w + p.scaleOffset) + shift.w);
  if constexpr (std::is_same_v<T, Float8>) storeFloat8(p, at, there, out);
  else if (there) store4<T>(static_cast<T*>(p.out) + at, out);
}

}  // namespace turbopi::kernels

using namespace turbopi::kernels;

extern "C" __global__ void __launch_bounds__(1024) norm_f32(const Norm p) { norm<float>(p); }
extern "C" __global__ void __launch_bounds__(1024) norm_bf16(const Norm p) { norm<bf16>(p); }
extern "C" __global__ void __launch_bounds__(1024) norm_float8(const Norm p) { norm<Float8>(p); }
