#include "common.cuh"

/// Residual and norm in one pass over a row: what the products before left as partial sums is added to the residual
/// stream, which stays in float32, and the norm of the result goes to the products after (network §3.2, §3.3, §3.6).
///
/// Reads x and the partials once, writes x and the normed row once. Floor: rows·width·(8 + 4·partials + element) bytes.
namespace turbopi::kernels {

namespace {
constexpr int kThreads = 256;
/// Four float4 a thread: rows of up to 4096.
constexpr int kVectors = 4;
}  // namespace

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

__device__ __forceinline__ float4 load4(const float* from, int i) { return *reinterpret_cast<const float4*>(from + i); }

template <typename T>
__device__ __forceinline__ void norm(const Norm& p) {
  __shared__ float shared[kThreads / 32];
  letLaterStart();
  awaitEarlier();
  const int row = blockIdx.x;
  float* x = p.x + static_cast<long long>(row) * p.width;
  const long long constants = constantsOf(p.given, row);
  const long long plane = static_cast<long long>(p.rows) * p.width;
  const float* partial = p.partial + static_cast<long long>(row) * p.width;
  float4 v[kVectors];
  float sum = 0;
#pragma unroll
  for (int j = 0; j < kVectors; ++j) {
    const int i = (threadIdx.x + j * kThreads) * 4;
    v[j] = make_float4(0, 0, 0, 0);
    if (i >= p.width) continue;
    v[j] = load4(x, i);
    if (p.partials > 0) {
      float4 add = p.bias ? load4(p.bias, i) : make_float4(0, 0, 0, 0);
      for (int s = 0; s < p.partials; ++s) {
        const float4 t = load4(partial + s * plane, i);
        add.x += t.x, add.y += t.y, add.z += t.z, add.w += t.w;
      }
      if (p.gate) {
        const float4 g = load4(p.gate + constants, i);
        add.x *= g.x, add.y *= g.y, add.z *= g.z, add.w *= g.w;
      }
      v[j].x += add.x, v[j].y += add.y, v[j].z += add.z, v[j].w += add.w;
      *reinterpret_cast<float4*>(x + i) = v[j];
    }
    sum += p.centred ? v[j].x + v[j].y + v[j].z + v[j].w
                     : v[j].x * v[j].x + v[j].y * v[j].y + v[j].z * v[j].z + v[j].w * v[j].w;
  }
  if (p.out == nullptr) return;
  float mean = 0;
  float variance = blockSum(sum, shared) / p.width;
  if (p.centred) {
    mean = variance;
    float squares = 0;
#pragma unroll
    for (int j = 0; j < kVectors; ++j) {
      if ((threadIdx.x + j * kThreads) * 4 >= p.width) continue;
      const float a = v[j].x - mean, b = v[j].y - mean, c = v[j].z - mean, d = v[j].w - mean;
      squares += a * a + b * b + c * c + d * d;
    }
    variance = blockSum(squares, shared) / p.width;
  }
  const float factor = 1.0f / sqrtf(variance + p.epsilon);
  T* out = static_cast<T*>(p.out) + static_cast<long long>(row) * p.width;
#pragma unroll
  for (int j = 0; j < kVectors; ++j) {
    const int i = (threadIdx.x + j * kThreads) * 4;
    if (i >= p.width) continue;
    const float4 s = load4(p.scale + constants, i);
    const float4 t = p.shift ? load4(p.shift + constants, i) : make_float4(0, 0, 0, 0);
    store4<T>(out + i, make_float4((v[j].x - mean) * factor * (s.x + p.scaleOffset) + t.x,
                                   (v[j].y - mean) * factor * (s.y + p.scaleOffset) + t.y,
                                   (v[j].z - mean) * factor * (s.z + p.scaleOffset) + t.z,
                                   (v[j].w - mean) * factor * (s.w + p.scaleOffset) + t.w));
  }
}

}  // namespace turbopi::kernels

using namespace turbopi::kernels;

extern "C" __global__ void __launch_bounds__(256) norm_f32(const Norm p) { norm<float>(p); }
extern "C" __global__ void __launch_bounds__(256) norm_bf16(const Norm p) { norm<bf16>(p); }
