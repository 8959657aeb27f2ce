#include "float8.cuh"

/// Residual and norm in one pass over a row: what the products before left as partial sums is added to the residual
/// stream, which stays in float32, and the norm of the result goes to the products after (network §3.2, §3.3, §3.6).
///
/// A block has one row, a thread four columns. Of few rows what does not depend on earlier kernels is loaded before they have
/// ended, and all parts at once: a norm is then a chain of latencies. Of many, in one part, as many as possible are at work.
///
/// Reads x and the partials once, writes x and the normed row once. Floor: rows·width·(8 + partials + element) bytes, a part alone
/// 2 and several 4 each.
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

/// The same, and the largest of `most`.
__device__ __forceinline__ float2 rowSumAndMost(float v, float most, float2* shared) {
  v = warpSum(v);
  most = warpMax(most);
  if ((threadIdx.x & 31) == 0) shared[threadIdx.x >> 5] = make_float2(v, most);
  __syncthreads();
  float2 all = make_float2(0, 0);
  for (int i = 0; i < blockDim.x >> 5; ++i) all.x += shared[i].x, all.y = fmaxf(all.y, shared[i].y);
  return all;
}

__device__ __forceinline__ float4 roundedToBFloat16(float4 v) {
  return make_float4(wide(narrow<bf16>(v.x)), wide(narrow<bf16>(v.y)), wide(narrow<bf16>(v.z)), wide(narrow<bf16>(v.w)));
}

/// What the products before have left. Several parts come through shared memory, where all of them are on their way at once:
/// into registers the compiler would load one after the other. A thread reads what it has copied itself.
template <bool MANY>
__device__ __forceinline__ float4 pendingSum(const Norm& p, long long at, bool there) {
  float4 sum = make_float4(0, 0, 0, 0);
  if (MANY || p.partials == 1) return there ? fourOf(static_cast<const bf16*>(p.partial) + at, 0) : sum;
  extern __shared__ float4 parts[];
  const long long plane = static_cast<long long>(p.rows) * p.width;
  if (there)
#pragma unroll 1
    for (int s = 0; s < p.partials; ++s)
      copy16(parts + s * blockDim.x + threadIdx.x, static_cast<const float*>(p.partial) + s * plane + at);
  awaitCopies();
  if (there)
#pragma unroll 2
    for (int s = 0; s < p.partials; ++s) {
      const float4 v = parts[s * blockDim.x + threadIdx.x];
      sum.x += v.x, sum.y += v.y, sum.z += v.z, sum.w += v.w;
    }
  return sum;
}

/// What `norm` writes: float, bf16, or 8-bit floats with a scale a row.
struct Float8 {};

/// `MANY`: of many rows, with at most one part.
template <typename T, bool MANY>
__device__ __forceinline__ void norm(const Norm& p) {
  constexpr bool kFloat8 = std::is_same_v<T, Float8>;
  __shared__ float sums[32], squares[32];
  __shared__ float2 largest[32], shifted[32];
  letLaterStart();
  const int row = blockIdx.x;
  const int i = threadIdx.x * 4;
  const bool there = i < p.width;
  const long long constants = constantsOf(p.given, row);
  const auto biases = [&] { return load4(p.bias, i, there && p.bias); };
  const auto gates = [&] { return load4(p.gate + constants, i, there && p.gate); };
  const auto scales = [&] { return load4(p.scale + constants, i, there && p.out); };
  const auto shifts = [&] { return load4(p.shift + constants, i, there && p.out && p.shift); };
  float4 bias, gate, scale, shift;
  if constexpr (!MANY) bias = biases(), gate = gates(), scale = scales(), shift = shifts();
  awaitEarlier();
  const long long at = static_cast<long long>(row) * p.width + i;
  float4 v = load4(p.x + at, 0, there);
  if (p.partials > 0) {
    float4 add = pendingSum<MANY>(p, at, there);
    if constexpr (MANY) bias = biases(), gate = gates();
    add.x += bias.x, add.y += bias.y, add.z += bias.z, add.w += bias.w;
    if (p.gate) add.x *= gate.x, add.y *= gate.y, add.z *= gate.z, add.w *= gate.w;
    v.x += add.x, v.y += add.y, v.z += add.z, v.w += add.w;
    if (there) *reinterpret_cast<float4*>(p.x + at) = v;
  }
  if (p.out == nullptr) return;
  if constexpr (MANY) scale = scales(), shift = shifts();
  if (p.centred) {
    const float mean = rowSum(v.x + v.y + v.z + v.w, sums) / p.width;
    if (there) v.x -= mean, v.y -= mean, v.z -= mean, v.w -= mean;
  }
  const float square = v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
  v.x *= scale.x + p.scaleOffset, v.y *= scale.y + p.scaleOffset, v.z *= scale.z + p.scaleOffset,
      v.w *= scale.w + p.scaleOffset;
  const float2 found = kFloat8 ? rowSumAndMost(square, there ? largestOf(v) : 0.0f, largest)
                               : make_float2(rowSum(square, squares), 0);
  const float factor = 1.0f / sqrtf(found.x / p.width + p.epsilon);
  const float4 out = make_float4(v.x * factor + shift.x, v.y * factor + shift.y, v.z * factor + shift.z, v.w * factor + shift.w);
  if constexpr (!kFloat8) {
    if (there) store4<T>(static_cast<T*>(p.out) + at, out);
  } else {
    // Rounded to bf16 first, so that it is what bf16's norm and float8_rows give. So is the largest: rounding keeps the order.
    const float4 rounded = roundedToBFloat16(out);
    float most = wide(narrow<bf16>(found.y * factor));
    if (p.shift) most = rowSumAndMost(0, there ? largestOf(rounded) : 0.0f, shifted).y;
    const float scale8 = float8Scale(most);
    const float inverse = 1.0f / scale8;
    if (threadIdx.x == 0) p.scales[row] = scale8;
    if (there)
      *reinterpret_cast<unsigned*>(static_cast<unsigned char*>(p.out) + at) =
          float8Bytes(rounded.x * inverse, rounded.y * inverse, rounded.z * inverse, rounded.w * inverse);
  }
}

}  // namespace turbopi::kernels

using namespace turbopi::kernels;

extern "C" __global__ void __launch_bounds__(1024) norm_f32(const Norm p) { norm<float, false>(p); }
extern "C" __global__ void __launch_bounds__(1024) norm_bf16(const Norm p) { norm<bf16, false>(p); }
extern "C" __global__ void __launch_bounds__(1024) norm_float8(const Norm p) { norm<Float8, false>(p); }
extern "C" __global__ void __launch_bounds__(1024, 2) norm_many_bf16(const Norm p) { norm<bf16, true>(p); }
/// Of Hopper's stages alone; elsewhere the registers would not do.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ == 900
#define TURBO_PI_BLOCKS_AT_ONCE 2
#else
#define TURBO_PI_BLOCKS_AT_ONCE 1
#endif
extern "C" __global__ void __launch_bounds__(1024, TURBO_PI_BLOCKS_AT_ONCE) norm_many_float8(const Norm p) { norm<Float8, true>(p); }
