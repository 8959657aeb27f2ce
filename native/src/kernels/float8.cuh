#pragma once

#include <cuda_fp8.h>

#include "common.cuh"

/// 8-bit floats (e4m3) and the scales that rows of numbers are stored with in them (docs/reference/fp8.md). A scale is a
/// power of two: dividing and multiplying by it rounds nothing, and what 8 bits hold is a bf16 number.
namespace turbopi::kernels {

/// Of a row whose largest magnitude is given: its largest number is stored as 192 to 384, a row of zeros as zeros.
__device__ __forceinline__ float float8Scale(float largest) {
  const float v = fmaxf(largest, 7.888609052210118e-31f);
  return __uint_as_float((__float_as_uint(v) + 0x400000u) & 0x7f800000u) * 0.00390625f;
}

/// Four numbers, rounded to nearest, ties to even; the first in the lowest byte.
__device__ __forceinline__ unsigned float8Bytes(float a, float b, float c, float d) {
  const unsigned low = __nv_cvt_float2_to_fp8x2(::float2{a, b}, __NV_SATFINITE, __NV_E4M3);
  const unsigned high = __nv_cvt_float2_to_fp8x2(::float2{c, d}, __NV_SATFINITE, __NV_E4M3);
  return low | high << 16;
}

__device__ __forceinline__ float fromFloat8(unsigned byte) {
  return __half2float(__half(__nv_cvt_fp8_to_halfraw(static_cast<__nv_fp8_storage_t>(byte), __NV_E4M3)));
}

__device__ __forceinline__ float4 fourOf(uint2 words) {
  const ::float2 a = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&words.x));
  const ::float2 b = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&words.y));
  return make_float4(a.x, a.y, b.x, b.y);
}

/// Four neighbours of a row.
__device__ __forceinline__ uint2 wordsOf(const bf16* row, int i) { return *reinterpret_cast<const uint2*>(row + i); }
__device__ __forceinline__ float4 fourOf(const bf16* row, int i) { return fourOf(wordsOf(row, i)); }

__device__ __forceinline__ float largestOf(float4 v) {
  return fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
}

/// The scale of a row of bf16, by the whole block. Widths are multiples of four.
__device__ __forceinline__ float rowScale(const bf16* row, int width) {
  __shared__ float shared[32];
  float largest = 0;
  for (int i = threadIdx.x * 4; i < width; i += blockDim.x * 4) largest = fmaxf(largest, largestOf(fourOf(row, i)));
  return float8Scale(blockMax(largest, shared));
}

/// Writes a row of bf16 as bytes, by the whole block, and gives its scale. What a thread has of the first 16,384 numbers, with
/// 256 threads, stays in its registers; the rest is read again.
__device__ __forceinline__ float storeFloat8(const bf16* row, unsigned char* to, int width) {
  __shared__ float shared[32];
  constexpr int kKept = 16;
  const int first = threadIdx.x * 4;
  const int step = blockDim.x * 4;
  uint2 kept[kKept];
  float largest = 0;
#pragma unroll
  for (int j = 0; j < kKept; ++j)
    kept[j] = first + j * step < width ? wordsOf(row, first + j * step) : make_uint2(0, 0);
#pragma unroll
  for (int j = 0; j < kKept; ++j) largest = fmaxf(largest, largestOf(fourOf(kept[j])));
  for (int i = first + kKept * step; i < width; i += step) largest = fmaxf(largest, largestOf(fourOf(row, i)));
  const float scale = float8Scale(blockMax(largest, shared));
  const float factor = 1.0f / scale;
  const auto store = [&](int i, float4 v) {
    *reinterpret_cast<unsigned*>(to + i) = float8Bytes(v.x * factor, v.y * factor, v.z * factor, v.w * factor);
  };
#pragma unroll
  for (int j = 0; j < kKept; ++j)
    if (first + j * step < width) store(first + j * step, fourOf(kept[j]));
  for (int i = first + kKept * step; i < width; i += step) store(i, fourOf(row, i));
  return scale;
}

}  // namespace turbopi::kernels
