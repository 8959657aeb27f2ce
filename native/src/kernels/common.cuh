#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

#include "arguments.h"

/// What all kernels share. Sums are in float32 and in a fixed order: the same inputs give the same bits.
namespace turbopi::kernels {

using bf16 = __nv_bfloat16;

__device__ __forceinline__ float wide(float v) { return v; }
__device__ __forceinline__ float wide(bf16 v) { return __bfloat162float(v); }
__device__ __forceinline__ float wide(__half v) { return __half2float(v); }

template <typename T>
__device__ __forceinline__ T narrow(float v);
template <>
__device__ __forceinline__ float narrow<float>(float v) {
  return v;
}
template <>
__device__ __forceinline__ bf16 narrow<bf16>(float v) {
  return __float2bfloat16(v);
}

/// ½x(1 + tanh(√(2/π)(x + 0.044715x³))) (network §3.2).
__device__ __forceinline__ float gelu(float x) {
  return 0.5f * x * (1.0f + tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)));
}

/// The same with the hardware's tanh, whose error of 2⁻¹¹ is below that of bf16.
__device__ __forceinline__ float geluFast(float x) {
  float t;
  asm("tanh.approx.f32 %0, %1;" : "=f"(t) : "f"(0.7978845608028654f * (x + 0.044715f * x * x * x)));
  return 0.5f * x * (1.0f + t);
}

__device__ __forceinline__ float warpSum(float v) {
#pragma unroll
  for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(~0u, v, o);
  return v;
}

__device__ __forceinline__ float warpMax(float v) {
#pragma unroll
  for (int o = 16; o; o >>= 1) v = fmaxf(v, __shfl_xor_sync(~0u, v, o));
  return v;
}

/// Over the block; `shared` holds one float a warp. Every thread gets the result.
template <typename Combine>
__device__ __forceinline__ float blockReduce(float v, float* shared, Combine combine, float neutral) {
  const int warp = threadIdx.x >> 5;
  const int warps = (blockDim.x + 31) >> 5;
  __syncthreads();
  if ((threadIdx.x & 31) == 0) shared[warp] = v;
  __syncthreads();
  float all = neutral;
  for (int i = 0; i < warps; ++i) all = combine(all, shared[i]);
  return all;
}

__device__ __forceinline__ float blockSum(float v, float* shared) {
  return blockReduce(warpSum(v), shared, [](float a, float b) { return a + b; }, 0.0f);
}

__device__ __forceinline__ float blockMax(float v, float* shared) {
  return blockReduce(warpMax(v), shared, [](float a, float b) { return fmaxf(a, b); }, -INFINITY);
}

/// Sixteen bytes to shared memory, there once the thread's copies have been awaited.
__device__ __forceinline__ void copy16(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(static_cast<uint32_t>(__cvta_generic_to_shared(to))),
               "l"(from)
               : "memory");
}
__device__ __forceinline__ void awaitCopies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

/// How far the constants of a row lie behind those of the step.
__device__ __forceinline__ long long constantsOf(const GivenRows& given, int row) {
  return given.factors && given.factors[row * 3 + 1] == 0.0f && given.factors[row * 3 + 2] == 0.0f ? given.offset : 0;
}

/// Programmatic dependent launch, which is how all kernels but the cooperative ones are started: the next kernel may start its
/// prologue now; nothing that an earlier kernel writes is touched before `awaitEarlier`. A kernel without it may read what is not
/// written yet, also after one that lets nobody start: native/kernels.mjs refuses it.
__device__ __forceinline__ void letLaterStart() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__device__ __forceinline__ void awaitEarlier() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

}  // namespace turbopi::kernels
