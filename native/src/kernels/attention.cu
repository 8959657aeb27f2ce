#include "common.cuh"

/// softmax(scale·q·Kᵀ)·V for any head size and number of keys: the readable reference beside the tuned kernels.
///
/// One block a query and head. Keys past a row's length are never read, so what is masked has no effect at all
/// (network §3.10). Reads every valid key and value once a query; floor 4·keys·headDim flops a query and head.
namespace turbopi::kernels {

template <typename T>
__device__ __forceinline__ void attention(const Attention& p) {
  extern __shared__ float memory[];
  __shared__ float shared[32];
  letLaterStart();
  awaitEarlier();
  const int row = blockIdx.x;
  const int head = blockIdx.y;
  const int b = blockIdx.z;
  const int lane = threadIdx.x & 31;
  const int warp = threadIdx.x >> 5;
  const int warps = blockDim.x >> 5;
  float* q = memory;
  float* weights = memory + p.headDim;
  const T* from = static_cast<const T*>(p.q) + b * p.qBatchStride + head * p.qHeadStride + row * p.qRowStride;
  for (int i = threadIdx.x; i < p.headDim; i += blockDim.x) q[i] = wide(from[i]);
  __syncthreads();

  int counts[2] = {0, 0};
  float largest = -INFINITY;
  for (int part = 0; part < p.partCount; ++part) {
    const AttentionPart& kv = p.parts[part];
    counts[part] = kv.lengths ? static_cast<int>(kv.lengths[b]) : kv.keyCount;
    if (part == 1 && p.stateRow && row == 0) counts[part] = 1;
    const T* keys = static_cast<const T*>(kv.keys) + b * kv.batchStride + head / (p.heads / p.kvHeads) * kv.headStride;
    for (int j = warp; j < counts[part]; j += warps) {
      float dot = 0;
      for (int i = lane; i < p.headDim; i += 32) dot = fmaf(q[i], wide(keys[j * kv.rowStride + i]), dot);
      dot = warpSum(dot) * p.scale;
      if (lane == 0) weights[part * counts[0] + j] = dot;
      largest = fmaxf(largest, dot);
    }
  }
  largest = blockMax(largest, shared);
  const int all = counts[0] + counts[1];
  float sum = 0;
  for (int j = threadIdx.x; j < all; j += blockDim.x) {
    weights[j] = expf(weights[j] - largest);
    sum += weights[j];
  }
  sum = blockSum(sum, shared);
  __syncthreads();
  T* out = static_cast<T*>(p.out) + ((static_cast<long long>(b) * p.rows + row) * p.heads + head) * p.headDim;
  for (int i = threadIdx.x; i < p.headDim; i += blockDim.x) {
    float mixed = 0;
    for (int part = 0; part < p.partCount; ++part) {
      const AttentionPart& kv = p.parts[part];
      const T* values =
          static_cast<const T*>(kv.values) + b * kv.batchStride + head / (p.heads / p.kvHeads) * kv.headStride;
      for (int j = 0; j < counts[part]; ++j)
        mixed = fmaf(weights[part * counts[0] + j], wide(values[j * kv.rowStride + i]), mixed);
    }
    out[i] = narrow<T>(sum > 0 ? mixed / sum : 0.0f);
  }
}

}  // namespace turbopi::kernels

using namespace turbopi::kernels;

extern "C" __global__ void __launch_bounds__(128) attention_f32(const Attention p) { attention<float>(p); }
extern "C" __global__ void __launch_bounds__(128) attention_bf16(const Attention p) { attention<bf16>(p); }
