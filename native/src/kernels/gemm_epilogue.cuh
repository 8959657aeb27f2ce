#pragma once
#include "hopper.cuh"

/// What follows a product on Hopper, of the numbers that a thread holds: interleaved columns (interleave.cu), so that its four are
/// neighbours in the output.
namespace turbopi::kernels {

enum TileEpilogue { kTilePartial, kTileStore, kTileGelu, kTileGated, kTileRope, kTilePositions };

#ifdef TURBO_PI_SM90

__device__ __forceinline__ uint32_t pair(float a, float b) {
  const __nv_bfloat162 p = __floats2bfloat162_rn(a, b);
  return *reinterpret_cast<const uint32_t*>(&p);
}

/// Sixteen interleaved columns: the thread's four are neighbours at `column`.
template <int E>
__device__ __forceinline__ void store4(const Tiles& g, int split, int row, int column, float v0, float v1, float v2,
                                       float v3) {
  if (row >= g.m || column >= g.n) return;
  const long long at = static_cast<long long>(row) * g.n + column;
  if constexpr (E == kTilePartial) {
    if (g.splits == 1) {
      *reinterpret_cast<uint2*>(static_cast<bf16*>(g.out) + at) = make_uint2(pair(v0, v1), pair(v2, v3));
    } else {
      float* out = static_cast<float*>(g.out) + static_cast<long long>(split) * g.m * g.n;
      *reinterpret_cast<float4*>(out + at) = make_float4(v0, v1, v2, v3);
    }
  } else {
    const float4 b = __ldg(reinterpret_cast<const float4*>(g.bias + column));
    if constexpr (E == kTilePositions) {
      const float4 t =
          __ldg(reinterpret_cast<const float4*>(g.table + static_cast<long long>(row % g.tableRows) * g.n + column));
      *reinterpret_cast<float4*>(static_cast<float*>(g.out) + at) =
          make_float4(v0 * g.scale + b.x + t.x, v1 * g.scale + b.y + t.y, v2 * g.scale + b.z + t.z,
                      v3 * g.scale + b.w + t.w);
    } else {
      v0 += b.x, v1 += b.y, v2 += b.z, v3 += b.w;
      if constexpr (E == kTileGelu) v0 = geluFast(v0), v1 = geluFast(v1), v2 = geluFast(v2), v3 = geluFast(v3);
      *reinterpret_cast<uint2*>(static_cast<bf16*>(g.out) + at) = make_uint2(pair(v0, v1), pair(v2, v3));
    }
  }
}

/// Thirty-two interleaved columns of gate and up: sixteen of the gated output.
__device__ __forceinline__ void storeGated(const Tiles& g, int row, int column, const float (&v)[8]) {
  if (row >= g.m || column * 2 >= g.n) return;
  uint2 out;
  out.x = pair(geluFast(v[0]) * v[4], geluFast(v[1]) * v[5]);
  out.y = pair(geluFast(v[2]) * v[6], geluFast(v[3]) * v[7]);
  *reinterpret_cast<uint2*>(static_cast<bf16*>(g.out) + static_cast<long long>(row) * (g.n / 2) + column) = out;
}

/// Thirty-two interleaved columns of q|k|v: of a query or key head sixteen pairs of the two halves.
__device__ __forceinline__ void storeRope(const Tiles& g, int row, int group, int quad, const float (&v)[8]) {
  const Rope& r = g.rope;
  if (row >= g.m || group * 32 >= g.n) return;
  const int half = r.headDim / 2;
  const int head = group * 32 / r.headDim;
  const int inside = group * 32 % r.headDim;
  const int b = row / r.rows;
  const int s = row % r.rows;
  bf16* to;
  if (head < r.heads) {
    to = static_cast<bf16*>(r.q) + (static_cast<long long>(row) * r.heads + head) * r.headDim;
  } else {
    const bool key = head < r.heads + r.kvHeads;
    const int kv = head - r.heads - (key ? 0 : r.kvHeads);
    to = static_cast<bf16*>(key ? r.keys : r.values) +
         ((static_cast<long long>(b) * r.kvHeads + kv) * r.rows + s) * r.headDim;
  }
  if (head >= r.heads + r.kvHeads) {
    to += inside + quad * 4;
    *reinterpret_cast<uint2*>(to) = make_uint2(pair(v[0], v[1]), pair(v[2], v[3]));
    *reinterpret_cast<uint2*>(to + 16) = make_uint2(pair(v[4], v[5]), pair(v[6], v[7]));
    return;
  }
  const int i = inside / 2 + quad * 4;
  const long long position = s + (r.lengths ? __ldg(r.lengths + b) : 0);
  const float4* table = reinterpret_cast<const float4*>(r.table + position * half + i);
  const float4 t0 = __ldg(table), t1 = __ldg(table + 1);
  *reinterpret_cast<uint2*>(to + i) =
      make_uint2(pair(v[0] * t0.x - v[4] * t0.y, v[1] * t0.z - v[5] * t0.w),
                 pair(v[2] * t1.x - v[6] * t1.y, v[3] * t1.z - v[7] * t1.w));
  *reinterpret_cast<uint2*>(to + half + i) =
      make_uint2(pair(v[4] * t0.x + v[0] * t0.y, v[5] * t0.z + v[1] * t0.w),
                 pair(v[6] * t1.x + v[2] * t1.y, v[7] * t1.z + v[3] * t1.w));
}

/// The scales of two columns, zeros past the last. In the order of use: all of them ahead would take the registers of the sums.
__device__ __forceinline__ float2 columnScales(const Tiles& g, int column) {
  float2 w = make_float2(0, 0);
  if (column < g.n)
    asm volatile("ld.global.v2.f32 {%0, %1}, [%2];" : "=f"(w.x), "=f"(w.y) : "l"(g.wScales + column) : "memory");
  return w;
}

/// Multiplies the sums of two rows, eight apart, by the scales of rows and columns.
template <int TN>
__device__ __forceinline__ void applyScales(const Tiles& g, int row, int n, int quad, float (&d)[TN / 2]) {
  const float first = row < g.m ? __ldcg(g.aScales + row) : 0.0f;
  const float second = row + 8 < g.m ? __ldcg(g.aScales + row + 8) : 0.0f;
#pragma unroll
  for (int i = 0; i < TN / 8; ++i) {
    const float2 w = columnScales(g, n + 8 * i + quad * 2);
    d[4 * i] *= first * w.x, d[4 * i + 1] *= first * w.y;
    d[4 * i + 2] *= second * w.x, d[4 * i + 3] *= second * w.y;
  }
}
#endif

}  // namespace turbopi::kernels
