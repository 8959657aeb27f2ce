#include "hopper.cuh"

/// Attention of eight query heads on one shared key/value head of 256, for the prefix and for batches of suffixes.
///
/// The heads of a token are rows of one query block: 64 rows are 8 tokens. A cluster of C multiprocessors shares a query
/// block where there are too few of them to fill the card: each has two consumer warpgroups, and the 2·C of the cluster
/// take the tiles of 64 keys in turns, each with a running softmax of its own; one producer thread keeps a ring of three
/// tiles filled by the copy engine. At the end every multiprocessor joins the parts of its share of the columns, in a
/// fixed order, out of the others' shared memory. Keys are in two parts, the prefix and the suffix; those past a row's
/// length count for exactly zero.
///
/// Reads q and all valid keys and values once a cluster, writes q's size. Floor 4·queries·keys·256 flops.
/// The reference is attention.cu.
namespace turbopi::kernels {

#ifdef TURBO_PI_SM90
namespace {
constexpr int kKeyTile = 64;
constexpr int kHead = 256;
constexpr int kTileBytes = kKeyTile * kHead * 2;
constexpr int kRing = 3;
/// Barriers of tiles that have arrived. A warpgroup has every other tile, and must wait for all phases of the barriers that it
/// waits for: one that has missed a phase takes the last but one for it.
constexpr int kFull = 2 * kRing;
constexpr float kLog2e = 1.4426950408889634f;
}  // namespace

__device__ __forceinline__ void copyTile(unsigned char* to, const void* map, int row, uint64_t* barrier) {
#pragma unroll
  for (int c = 0; c < 4; ++c) copyBox(to + c * 8192, map, c * 64, row, barrier);
}

__device__ __forceinline__ float quadMax(float v) {
  v = fmaxf(v, __shfl_xor_sync(~0u, v, 1));
  return fmaxf(v, __shfl_xor_sync(~0u, v, 2));
}
__device__ __forceinline__ float quadSum(float v) {
  v += __shfl_xor_sync(~0u, v, 1);
  return v + __shfl_xor_sync(~0u, v, 2);
}

/// The key tile that comes i-th to the two warpgroups of a cluster's multiprocessor: even ones to the first.
template <int C>
__device__ __forceinline__ int tileOf(int rank, int i) {
  return (i >> 1) * 2 * C + rank * 2 + (i & 1);
}

/// Among the consumer warps.
__device__ __forceinline__ void consumersTogether() { asm volatile("bar.sync 1, 256;" ::: "memory"); }

/// What stands at this place of the shared memory of the cluster's multiprocessor `rank`.
template <int C, typename T>
__device__ __forceinline__ T peer(const T* place, int rank) {
  if constexpr (C == 1) return *place;
  else return peerValue(place, rank);
}

template <int C>
__device__ __forceinline__ void sharedHead(const void* qMap, const void* k0, const void* v0, const void* k1,
                                           const void* v1, const SharedHeadAttention& p) {
  extern __shared__ __align__(1024) unsigned char ring[];
  unsigned char* memory = reinterpret_cast<unsigned char*>((reinterpret_cast<uintptr_t>(ring) + 1023) & ~uintptr_t{1023});
  unsigned char* stages = memory + kTileBytes;
  __shared__ __align__(8) uint64_t full[kFull], empty[kRing], ready;
  // Largest logit and sum of each row of each warpgroup.
  __shared__ float2 found[2][64];
  const int group = threadIdx.x >> 7;
  const int b = blockIdx.y;
  const int rank = C > 1 ? static_cast<int>(blockIdx.x) % C : 0;
  const int query0 = static_cast<int>(blockIdx.x) / C * 64;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kFull; ++i) barrierInit(full + i, 1);
    for (int i = 0; i < kRing; ++i) barrierInit(empty + i, 1);
    barrierInit(&ready, 1);
    barrierInitDone();
  }
  __syncthreads();
  letLaterStart();
  awaitEarlier();
  const int length = p.lengths ? static_cast<int>(p.lengths[b]) : p.keys0;
  const int tiles0 = (length + kKeyTile - 1) / kKeyTile;
  const int total = tiles0 + p.tiles1;
  if (group == 2) {
    fewerRegisters<24>();
    if (threadIdx.x == 256) {
      barrierExpect(&ready, kTileBytes);
      copyTile(memory, qMap, b * p.queries + query0, &ready);
      for (int i = 0;; ++i) {
        const int t = tileOf<C>(rank, i);
        if (t >= total) break;
        const int stage = i % kRing;
        barrierWait(empty + stage, (i / kRing & 1) ^ 1);
        uint64_t* arrived = full + i % kFull;
        barrierExpect(arrived, 2 * kTileBytes);
        unsigned char* at = stages + stage * 2 * kTileBytes;
        const bool first = t < tiles0;
        const int row = first ? b * p.keys0 + t * kKeyTile : b * p.keys1 + (t - tiles0) * kKeyTile;
        copyTile(at, first ? k0 : k1, row, arrived);
        copyTile(at + kTileBytes, first ? v0 : v1, row, arrived);
      }
    }
    if constexpr (C > 1) {
      clusterBarrier();
      clusterBarrier();
    }
  } else {
    moreRegisters<240>();
    const int lane = threadIdx.x & 31;
    const int quad = lane & 3;
    const int row = ((threadIdx.x >> 5) & 3) * 16 + (lane >> 2);
    const float scale = p.scale * kLog2e;
    float o[128];
#pragma unroll
    for (int i = 0; i < 128; ++i) o[i] = 0;
    float largest[2] = {-INFINITY, -INFINITY};
    float sum[2] = {0, 0};
    barrierWait(&ready, 0);
    for (int i = group;; i += 2) {
      const int t = tileOf<C>(rank, i);
      if (t >= total) break;
      const int stage = i % kRing;
      unsigned char* at = stages + stage * 2 * kTileBytes;
      barrierWait(full + i % kFull, i / kFull & 1);
      float s[32];
#pragma unroll
      for (int i = 0; i < 32; ++i) s[i] = 0;
      productFence();
#pragma unroll
      for (int c = 0; c < 4; ++c)
#pragma unroll
        for (int k = 0; k < 4; ++k)
          Product<64>::run(s, alongRow(memory + c * 8192) + 2 * k, alongRow(at + c * 8192) + 2 * k, 1);
      productCommit();
      productWait<0>();
      const bool first = t < tiles0;
      const int key0 = first ? t * kKeyTile : (t - tiles0) * kKeyTile;
      const int valid = first ? length : p.keys1;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const bool alone = p.stateRow && !first && (query0 + row + 8 * h) / 8 == 0;
        const int limit = alone ? 1 : valid;
        float most = largest[h];
#pragma unroll
        for (int j = 0; j < 8; ++j)
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            float& v = s[4 * j + 2 * h + e];
            v = key0 + 8 * j + 2 * quad + e < limit ? v * scale : -INFINITY;
            most = fmaxf(most, v);
          }
        most = quadMax(most);
        const float base = most == -INFINITY ? 0.0f : most;
        const float shrink = exp2f(largest[h] - base);
        largest[h] = most;
        float add = 0;
#pragma unroll
        for (int j = 0; j < 8; ++j)
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            float& v = s[4 * j + 2 * h + e];
            v = exp2f(v - base);
            add += v;
          }
        sum[h] = sum[h] * shrink + add;
#pragma unroll
        for (int j = 0; j < 32; ++j) {
          o[4 * j + 2 * h] *= shrink;
          o[4 * j + 2 * h + 1] *= shrink;
        }
      }
      uint32_t w[4][4];
#pragma unroll
      for (int k = 0; k < 4; ++k)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const __nv_bfloat162 v = __floats2bfloat162_rn(s[8 * k + 2 * i], s[8 * k + 2 * i + 1]);
          w[k][i] = *reinterpret_cast<const uint32_t*>(&v);
        }
      productFence();
#pragma unroll
      for (int k = 0; k < 4; ++k) productFromRegisters(o, w[k], acrossRows(at + kTileBytes + k * 2048, 8192));
      productCommit();
      productWait<0>();
      if ((threadIdx.x & 127) == 0) barrierArrive(empty + stage);
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) sum[h] = quadSum(sum[h]);
    // The ring has been read: its room takes what each warpgroup has, four values of a thread side by side.
    consumersTogether();
    float4* parts = reinterpret_cast<float4*>(stages);
    const int thread = threadIdx.x & 127;
#pragma unroll
    for (int j = 0; j < 32; ++j)
      parts[(group * 32 + j) * 128 + thread] = make_float4(o[4 * j], o[4 * j + 1], o[4 * j + 2], o[4 * j + 3]);
    if (quad == 0)
#pragma unroll
      for (int h = 0; h < 2; ++h) found[group][row + 8 * h] = make_float2(largest[h], sum[h]);
    if constexpr (C > 1) clusterBarrier();
    else consumersTogether();
    float weight[2][2 * C];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float2 of[2 * C];
      float most = -INFINITY;
#pragma unroll
      for (int i = 0; i < 2 * C; ++i) {
        of[i] = peer<C>(&found[i & 1][row + 8 * h], i >> 1);
        most = fmaxf(most, of[i].x);
      }
      const float base = most == -INFINITY ? 0.0f : most;
      float all = 0;
#pragma unroll
      for (int i = 0; i < 2 * C; ++i) {
        weight[h][i] = exp2f(of[i].x - base);
        all += of[i].y * weight[h][i];
      }
      const float factor = all > 0 ? 1.0f / all : 0.0f;
#pragma unroll
      for (int i = 0; i < 2 * C; ++i) weight[h][i] *= factor;
    }
    const int query = query0 + row;
    bf16* out = static_cast<bf16*>(p.out) + (static_cast<long long>(b) * p.queries + query) * kHead + 2 * quad;
#pragma unroll
    for (int n = 0; n < 16 / C; ++n) {
      const int j = rank * (32 / C) + 2 * n + group;
      float4 v = make_float4(0, 0, 0, 0);
#pragma unroll
      for (int i = 0; i < 2 * C; ++i) {
        const float4 of = peer<C>(parts + ((i & 1) * 32 + j) * 128 + thread, i >> 1);
        v.x += of.x * weight[0][i], v.y += of.y * weight[0][i];
        v.z += of.z * weight[1][i], v.w += of.w * weight[1][i];
      }
      if (query < p.queries) *reinterpret_cast<__nv_bfloat162*>(out + 8 * j) = __floats2bfloat162_rn(v.x, v.y);
      if (query + 8 < p.queries)
        *reinterpret_cast<__nv_bfloat162*>(out + 8 * kHead + 8 * j) = __floats2bfloat162_rn(v.z, v.w);
    }
    // The others read this multiprocessor's memory until here.
    if constexpr (C > 1) clusterBarrier();
  }
}
#endif

}  // namespace turbopi::kernels

using namespace turbopi::kernels;

#ifdef TURBO_PI_SM90
#define TURBO_PI_CLUSTER(C) __cluster_dims__(C, 1, 1)
#define TURBO_PI_SHARED_HEAD_BODY(C) sharedHead<C>(&q, &k0, &v0, &k1, &v1, p);
#else
#define TURBO_PI_CLUSTER(C)
#define TURBO_PI_SHARED_HEAD_BODY(C)
#endif
/// attention_shared_head_<multiprocessors a query block>.
#define TURBO_PI_SHARED_HEAD(C)                                                                                    \
  extern "C" __global__ void __launch_bounds__(384, 1) TURBO_PI_CLUSTER(C) attention_shared_head_##C(               \
      const __grid_constant__ Map q, const __grid_constant__ Map k0, const __grid_constant__ Map v0,                 \
      const __grid_constant__ Map k1, const __grid_constant__ Map v1, const __grid_constant__ SharedHeadAttention p) { \
    TURBO_PI_SHARED_HEAD_BODY(C)                                                                                    \
  }
TURBO_PI_SHARED_HEAD(1)
TURBO_PI_SHARED_HEAD(2)
TURBO_PI_SHARED_HEAD(4)
