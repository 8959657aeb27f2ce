#include "common.cuh"

/// Matrix products for any size, element type and card: the readable reference beside gemm_sm90.cu.
///
/// Reads a [m, k] and w [n, k] once a tile of 64 × 64, sums in float32, writes [m, n] through the epilogue.
/// Floor: 2·m·n·k flops on the float32 units, (m·k + n·k + m·n) elements of memory traffic.
namespace turbopi::kernels {

namespace {
constexpr int kTile = 64;
constexpr int kDepth = 16;
}  // namespace

template <typename A, typename W, typename Out>
__device__ __forceinline__ void linear(const Linear& p) {
  __shared__ float as[kDepth][kTile + 4];
  __shared__ float ws[kDepth][kTile + 4];
  letLaterStart();
  awaitEarlier();
  const int m0 = blockIdx.y * kTile;
  const int n0 = blockIdx.x * kTile;
  const int tid = threadIdx.x;
  const int tx = tid & 15;
  const int ty = tid >> 4;
  const A* a = static_cast<const A*>(p.a);
  const W* w = static_cast<const W*>(p.w);
  float sums[4][4] = {};
  for (int k0 = 0; k0 < p.k; k0 += kDepth) {
    for (int i = tid; i < kTile * kDepth; i += 256) {
      const int row = i / kDepth;
      const int k = k0 + i % kDepth;
      const bool inside = k < p.k;
      as[i % kDepth][row] =
          inside && m0 + row < p.m ? wide(a[static_cast<long long>(m0 + row) * p.aStride + k]) : 0.0f;
      ws[i % kDepth][row] =
          inside && n0 + row < p.n ? wide(w[static_cast<long long>(n0 + row) * p.wStride + k]) : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      const float4 x = *reinterpret_cast<const float4*>(&as[k][ty * 4]);
      const float4 y = *reinterpret_cast<const float4*>(&ws[k][tx * 4]);
      const float xs[4] = {x.x, x.y, x.z, x.w};
      const float ys[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(xs[i], ys[j], sums[i][j]);
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int m = m0 + ty * 4 + i;
    if (m >= p.m) continue;
    const long long row = static_cast<long long>(m / p.group) * p.groupStride + p.groupOffset + m % p.group;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int n = n0 + tx * 4 + j;
      if (n >= p.n) continue;
      float v = sums[i][j] * p.scale + (p.bias ? p.bias[n] : 0.0f) + (n < p.onePlus ? 1.0f : 0.0f);
      if (p.table) v += p.table[static_cast<long long>(row % p.tableRows) * p.n + n];
      const long long at = row * p.outStride + n;
      switch (p.epilogue) {
        case Epilogue::kStore:
          static_cast<Out*>(p.out)[at] = narrow<Out>(v);
          break;
        case Epilogue::kGelu:
          static_cast<Out*>(p.out)[at] = narrow<Out>(gelu(v));
          break;
        case Epilogue::kStoreFloat:
          static_cast<float*>(p.out)[at] = v;
          break;
        case Epilogue::kSwish:
          static_cast<float*>(p.out)[at] = v / (1.0f + expf(-v));
          break;
        case Epilogue::kResidual:
          static_cast<float*>(p.out)[at] += v * (p.gate ? p.gate[n + constantsOf(p.given, m)] : 1.0f);
          break;
      }
    }
  }
}

/// The same in float32 for few outputs: a warp an output, its lanes along k. The layers around the expert are this small.
__device__ __forceinline__ void linearThin(const Linear& p) {
  letLaterStart();
  awaitEarlier();
  const long long index = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) >> 5;
  const int lane = threadIdx.x & 31;
  const int m = index / p.n;
  const int n = index % p.n;
  if (m >= p.m) return;
  const float* a = static_cast<const float*>(p.a) + static_cast<long long>(m) * p.aStride;
  const float* w = static_cast<const float*>(p.w) + static_cast<long long>(n) * p.wStride;
  float sum = 0;
  for (int k = lane; k < p.k; k += 32) sum = fmaf(a[k], w[k], sum);
  sum = warpSum(sum);
  if (lane != 0) return;
  const float v = sum * p.scale + (p.bias ? p.bias[n] : 0.0f);
  const long long row = static_cast<long long>(m / p.group) * p.groupStride + p.groupOffset + m % p.group;
  static_cast<float*>(p.out)[row * p.outStride + n] = p.epilogue == Epilogue::kSwish ? v / (1.0f + expf(-v)) : v;
}

}  // namespace turbopi::kernels

using namespace turbopi::kernels;

extern "C" __global__ void __launch_bounds__(256) linear_f32(const Linear p) { linear<float, float, float>(p); }
extern "C" __global__ void __launch_bounds__(256) linear_bf16(const Linear p) { linear<bf16, bf16, bf16>(p); }
/// float32 activations on bf16 weights: the layers that stay wide in a bf16 model.
extern "C" __global__ void __launch_bounds__(256) linear_wide_bf16(const Linear p) { linear<float, bf16, bf16>(p); }
extern "C" __global__ void __launch_bounds__(256) linear_thin(const Linear p) { linearThin(p); }
