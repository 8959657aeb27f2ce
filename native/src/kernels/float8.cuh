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

/// Four neighbours of a row.
__device__ __forceinline__ float4 fourOf(const bf16* row, int i) {
  const uint2 words = *reinterpret_cast<const uint2*>(row + i);
  const ::float2 a = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&words.x));
  const ::float2 b = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&words.y));
  return make_float4(a.x, a.y, b.x, b.y);
}

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

/// Writes a row of bf16 as bytes, by the whole block, and gives its scale.
__device__ __forceinline__ float storeFloat8(const bf16* row, unsigned char* to, int width) {
  const float scale = rowScale(row, width);
  const float factor = 1.0f / scale;
  for (int i = threadIdx.x * 4; i < width; i += blockDim.x * 4) {
    const float4 v = fourOf(row, i);
    *reinterpret_cast<unsigned*>(to + i) = float8Bytes(v.x * factor, v.y * factor, v.z * factor, v.w * factor);
  }
  return scale;
}

}  // namespace turbopi::kernels
