#include "common.cuh"

/// SigLIP's attention: heads of 72 on the 256 tokens of one image, bf16, from the packed q|k|v product.
///
/// One block takes 64 queries of one head: the head's keys and values are in shared memory whole, rows of 144 bytes,
/// which no two rows of a matrix load share banks of. A warp has 16 queries and all 256 logits of them in registers, so
/// the softmax is exact and in one go. The 72 are four steps of 16 and one of 8: nothing is padded.
///
/// Reads q|k|v four times (once a block of 64 queries), writes a third of it; floor 4·256·256·72 flops a head.
/// The reference is attention.cu.
namespace turbopi::kernels {

namespace {
constexpr int kVisionHead = 72;
constexpr int kVisionTokens = 256;
constexpr int kVisionQueries = 64;
constexpr int kVisionShared = (2 * kVisionTokens + kVisionQueries) * kVisionHead * 2;
}  // namespace

#if __CUDA_ARCH__ >= 800
__device__ __forceinline__ void loadMatrices(uint32_t (&r)[4], const bf16* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(p))));
}
__device__ __forceinline__ void loadTransposed(uint32_t (&r)[4], const bf16* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(p))));
}
__device__ __forceinline__ void multiply16(float* c, const uint32_t* a, uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void multiply8(float* c, const uint32_t* a, uint32_t b) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(b));
}
__device__ __forceinline__ void visionAttention(const VisionAttention& p) {
  extern __shared__ __align__(16) unsigned char shared[];
  bf16* keys = reinterpret_cast<bf16*>(shared);
  bf16* values = keys + kVisionTokens * kVisionHead;
  bf16* queries = values + kVisionTokens * kVisionHead;
  letLaterStart();
  awaitEarlier();
  const int image = blockIdx.x / p.heads;
  const int head = blockIdx.x % p.heads;
  const int query0 = blockIdx.y * kVisionQueries;
  const int width = p.heads * kVisionHead;
  const bf16* base = static_cast<const bf16*>(p.qkv) + static_cast<long long>(image) * kVisionTokens * 3 * width +
                     head * kVisionHead;
  constexpr int kChunks = kVisionHead / 8;
  for (int i = threadIdx.x; i < kVisionQueries * kChunks; i += 128)
    copy16(queries + i * 8, base + static_cast<long long>(query0 + i / kChunks) * 3 * width + i % kChunks * 8);
  const auto copyPart = [&](bf16* to, int part) {
    for (int i = threadIdx.x; i < kVisionTokens * kChunks; i += 128)
      copy16(to + i * 8, base + static_cast<long long>(i / kChunks) * 3 * width + part * width + i % kChunks * 8);
    asm volatile("cp.async.commit_group;" ::: "memory");
  };
  copyPart(keys, 1);
  // Values come while the logits are computed.
  copyPart(values, 2);
  asm volatile("cp.async.wait_group 1;" ::: "memory");
  __syncthreads();

  const int lane = threadIdx.x & 31;
  const int warp = threadIdx.x >> 5;
  const bf16* mine = queries + (warp * 16 + (lane & 15)) * kVisionHead;
  uint32_t q[5][4];
#pragma unroll
  for (int k = 0; k < 4; ++k) loadMatrices(q[k], mine + k * 16 + (lane >> 4) * 8);
  loadMatrices(q[4], mine + 64);

  float s[32][4];
#pragma unroll
  for (int g = 0; g < 8; ++g) {
    // The last eight dimensions of four key groups at once.
    uint32_t tail[4];
    loadMatrices(tail, keys + (g * 32 + lane) * kVisionHead + 64);
#pragma unroll
    for (int t = 0; t < 4; ++t) {
      float* c = s[g * 4 + t];
      c[0] = c[1] = c[2] = c[3] = 0;
      const bf16* row = keys + ((g * 4 + t) * 8 + (lane & 7)) * kVisionHead + (lane >> 3) * 8;
      uint32_t a[4], b[4];
      loadMatrices(a, row);
      loadMatrices(b, row + 32);
      multiply16(c, q[0], a[0], a[1]);
      multiply16(c, q[1], a[2], a[3]);
      multiply16(c, q[2], b[0], b[1]);
      multiply16(c, q[3], b[2], b[3]);
      multiply8(c, q[4], tail[t]);
    }
  }
  const float scale = p.scale * 1.4426950408889634f;
  float factor[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float most = -INFINITY;
#pragma unroll
    for (int j = 0; j < 32; ++j) most = fmaxf(most, fmaxf(s[j][2 * h], s[j][2 * h + 1]));
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 2)) * scale;
    float sum = 0;
#pragma unroll
    for (int j = 0; j < 32; ++j)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        s[j][2 * h + e] = exp2f(s[j][2 * h + e] * scale - most);
        sum += s[j][2 * h + e];
      }
    sum += __shfl_xor_sync(~0u, sum, 1);
    sum += __shfl_xor_sync(~0u, sum, 2);
    factor[h] = 1.0f / sum;
  }
  awaitCopies();
  __syncthreads();
  float o[9][4] = {};
#pragma unroll
  for (int k = 0; k < 16; ++k) {
    uint32_t w[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const __nv_bfloat162 v = __floats2bfloat162_rn(s[2 * k + i / 2][i % 2 * 2], s[2 * k + i / 2][i % 2 * 2 + 1]);
      w[i] = *reinterpret_cast<const uint32_t*>(&v);
    }
    const bf16* row = values + (k * 16 + (lane & 15)) * kVisionHead;
#pragma unroll
    for (int d = 0; d < 4; ++d) {
      uint32_t b[4];
      loadTransposed(b, row + d * 16 + (lane >> 4) * 8);
      multiply16(o[2 * d], w, b[0], b[1]);
      multiply16(o[2 * d + 1], w, b[2], b[3]);
    }
    uint32_t b[4];
    loadTransposed(b, row + 64);
    multiply16(o[8], w, b[0], b[1]);
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int token = query0 + warp * 16 + (lane >> 2) + 8 * h;
    bf16* out = static_cast<bf16*>(p.out) + (static_cast<long long>(image) * kVisionTokens + token) * width +
                head * kVisionHead + (lane & 3) * 2;
#pragma unroll
    for (int d = 0; d < 9; ++d)
      *reinterpret_cast<__nv_bfloat162*>(out + d * 8) =
          __floats2bfloat162_rn(o[d][2 * h] * factor[h], o[d][2 * h + 1] * factor[h]);
  }
}
#endif

}  // namespace turbopi::kernels

using namespace turbopi::kernels;

extern "C" __global__ void __launch_bounds__(128) attention_vision(const VisionAttention p) {
#if __CUDA_ARCH__ >= 800
  visionAttention(p);
#endif
}
