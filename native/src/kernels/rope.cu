#include "common.cuh"

/// Rotary positions (network §3.4): the halves (x₁, x₂) of each query and key head become
/// (x₁·cos − x₂·sin, x₂·cos + x₁·sin), in float32; values move through. The reference beside gemm_sm90.cu's epilogue.
namespace turbopi::kernels {

/// (cos, sin) of position·frequency, [positions, half]. Written once, when a model is opened.
__device__ __forceinline__ void ropeTable(const float* frequencies, float2* table, int positions, int half) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= positions * half) return;
  const float angle = static_cast<float>(i / half) * frequencies[i % half];
  table[i] = make_float2(cosf(angle), sinf(angle));
}

/// One thread a pair (queries, keys) or two values.
template <typename T>
__device__ __forceinline__ void rope(const Rope& p) {
  letLaterStart();
  awaitEarlier();
  const int half = p.headDim / 2;
  const int heads = p.heads + 2 * p.kvHeads;
  const long long index = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int i = index % half;
  const int head = index / half % heads;
  const long long token = index / half / heads;
  if (token >= static_cast<long long>(p.batch) * p.rows) return;
  const int b = token / p.rows;
  const int row = token % p.rows;
  const T* from = static_cast<const T*>(p.qkv) + (token * heads + head) * p.headDim + i;
  float x1 = wide(from[0]);
  float x2 = wide(from[half]);
  if (head < p.heads + p.kvHeads) {
    const long long position = row + (p.lengths ? p.lengths[b] : 0);
    const float2 t = p.table[position * half + i];
    const float r1 = x1 * t.x - x2 * t.y;
    x2 = x2 * t.x + x1 * t.y;
    x1 = r1;
  }
  T* to;
  if (head < p.heads) {
    to = static_cast<T*>(p.q) + (token * p.heads + head) * p.headDim;
  } else {
    const bool key = head < p.heads + p.kvHeads;
    const int kv = head - p.heads - (key ? 0 : p.kvHeads);
    to = static_cast<T*>(key ? p.keys : p.values) +
         ((static_cast<long long>(b) * p.kvHeads + kv) * p.rows + row) * p.headDim;
  }
  to[i] = narrow<T>(x1);
  to[i + half] = narrow<T>(x2);
}

}  // namespace turbopi::kernels

using namespace turbopi::kernels;

extern "C" __global__ void rope_table(const float* frequencies, float2* table, int positions, int half) {
  awaitEarlier();
  ropeTable(frequencies, table, positions, half);
}
extern "C" __global__ void __launch_bounds__(256) rope_f32(const Rope p) { rope<float>(p); }
extern "C" __global__ void __launch_bounds__(256) rope_bf16(const Rope p) { rope<bf16>(p); }
