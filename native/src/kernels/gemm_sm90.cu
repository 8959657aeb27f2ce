#include "gemm_epilogue.cuh"
#include "hopper_float8.cuh"

/// The large products on Hopper: tiles of 64 to 320 rows × up to 256, fed by the copy engine, multiplied by warpgroups.
///
/// One producer thread keeps a ring of stages (64 values of the contraction each) filled from two tensor maps; up to five
/// consumer warpgroups own 64 rows each. Blocks walk over tiles in bands, rows first, so that those at work share weights;
/// the producer runs ahead into the next tile while the epilogue writes, and fetches the first weights before the kernel
/// before this one has ended. The rows of a weight matrix are interleaved when a model is opened (interleave.cu), so that
/// the sums a thread holds are neighbours in the output: four columns, or four gate|up pairs, or four RoPE pairs.
///
/// Of 8-bit floats a stage holds 128 values. The tensor cores keep 14 bits or so of their sums. Short contractions are left to
/// them (cuda_tiles.cc says how short); of others the sums are added up in float32 after every 1,024 values, which takes as many
/// registers again. What comes out is multiplied by the scales of the rows of a and w.
///
/// Reads (m·k + n·k) elements at least once, writes m·n; floor 2·m·n·k flops at the card's tensor rate.
/// The reference is linear.cu (with gated, rope and norm of their own).
namespace turbopi::kernels {

#ifdef TURBO_PI_SM90

/// Tiles of rows that are walked together, all columns of them, before the next: what those at work read then fits the cache,
/// however many rows there are.
constexpr int kBand = 12;

/// Where tile `i` begins in m and n, and its part of k.
struct TilePlace {
  int m, n, split;
};
template <int TM, int TN>
__device__ __forceinline__ TilePlace placeOf(const Tiles& g, int i) {
  const int plane = g.mTiles * g.nTiles;
  const int inPlane = i % plane;
  const int first = inPlane / (kBand * g.nTiles) * kBand;
  const int height = min(kBand, g.mTiles - first);
  const int inBand = inPlane - first * g.nTiles;
  return {(first + inBand % height) * TM, inBand / height * TN, i / plane};
}

/// How a product adds up: of bf16 exactly enough, of 8-bit floats by the tensor cores alone, or in float32 now and then.
enum TileSums { kBFloat16, kFloat8Short, kFloat8Long };

/// Stages of a long contraction whose sums are left to the tensor cores.
constexpr int kFloat8Stages = 8;

template <int WGS, int TN, int STAGES, int E, int SUMS = kBFloat16>
__device__ __forceinline__ void tiles(const void* aMap, const void* wMap, const Tiles& g) {
  constexpr bool kFloat8 = SUMS != kBFloat16;
  constexpr bool kLong = SUMS == kFloat8Long;
  // Gated tiles are a seventh faster scaled all at once; those of partial sums would not have the registers.
  constexpr bool kScaledLate = kFloat8 && E == kTilePartial;
  constexpr int TM = WGS * 64;
  constexpr int kA = TM * 128;
  constexpr int kW = TN * 128;
  /// Values of the contraction a stage: 128 bytes.
  constexpr int kDepth = kFloat8 ? 128 : 64;
  extern __shared__ __align__(1024) unsigned char ring[];
  unsigned char* memory = reinterpret_cast<unsigned char*>((reinterpret_cast<uintptr_t>(ring) + 1023) & ~uintptr_t{1023});
  __shared__ __align__(8) uint64_t full[STAGES], empty[STAGES];
  const int group = threadIdx.x >> 7;
  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; ++i) {
      barrierInit(full + i, 1);
      barrierInit(empty + i, WGS);
    }
    barrierInitDone();
  }
  __syncthreads();
  letLaterStart();
  const int total = g.mTiles * g.nTiles * g.splits;
  const int blocks = (g.k + kDepth - 1) / kDepth;
  const auto start = static_cast<int>(blockIdx.x);
  const auto stride = static_cast<int>(gridDim.x);
  if (group == WGS) {
    if constexpr (WGS == 3) fewerRegisters<32>();
    if constexpr (WGS == 2) fewerRegisters<40>();
    if constexpr (WGS == 5) fewerRegisters<24>();
    if (threadIdx.x == WGS * 128) {
      const auto copyA = [&](unsigned char* at, int kb, int m, uint64_t* barrier) {
        copyBox(at, aMap, kb * kDepth, m, barrier);
        // A box has at most 256 rows.
        if constexpr (TM > 256) copyBox(at + kA / 2, aMap, kb * kDepth, m + TM / 2, barrier);
      };
      // Weights were there before any kernel of this graph ran; activations were not.
      int early = 0;
      if (start < total) {
        const TilePlace place = placeOf<TM, TN>(g, start);
        const int first = place.split * g.splitBlocks;
        for (; early < min(STAGES, min(g.splitBlocks, blocks - first)); ++early) {
          barrierExpect(full + early, kA + kW);
          copyBox(memory + early * (kA + kW) + kA, wMap, (first + early) * kDepth, place.n, full + early);
        }
      }
      awaitEarlier();
      int stage = 0, parity = 1;
      for (int tile = start; tile < total; tile += stride) {
        const TilePlace place = placeOf<TM, TN>(g, tile);
        const int first = place.split * g.splitBlocks;
        const int last = min(first + g.splitBlocks, blocks);
        for (int kb = first; kb < last; ++kb) {
          unsigned char* at = memory + stage * (kA + kW);
          if (early > 0) {
            --early;
          } else {
            barrierWait(empty + stage, parity);
            barrierExpect(full + stage, kA + kW);
            copyBox(at + kA, wMap, kb * kDepth, place.n, full + stage);
          }
          copyA(at, kb, place.m, full + stage);
          if (++stage == STAGES) stage = 0, parity ^= 1;
        }
      }
    }
  } else {
    if constexpr (WGS == 3) moreRegisters<160>();
    if constexpr (WGS == 2) moreRegisters<232>();
    if constexpr (WGS == 5) moreRegisters<88>();
    awaitEarlier();
    const int lane = threadIdx.x & 31;
    const int quad = lane & 3;
    int stage = 0, parity = 0;
    const auto release = [&](int used) {
      if ((threadIdx.x & 127) == 0) barrierArrive(empty + used);
    };
    for (int tile = start; tile < total; tile += stride) {
      const auto [m, n, split] = placeOf<TM, TN>(g, tile);
      const int first = split * g.splitBlocks;
      const int last = min(first + g.splitBlocks, blocks);
      float d[TN / 2];
      float sums[kLong ? TN / 2 : 1];
#pragma unroll
      for (int i = 0; i < TN / 2; ++i) d[i] = 0;
      if constexpr (kLong) {
#pragma unroll
        for (int i = 0; i < TN / 2; ++i) sums[i] = 0;
      }
      int previous = -1;
      for (int kb = first; kb < last; ++kb) {
        barrierWait(full + stage, parity);
        const unsigned char* at = memory + stage * (kA + kW);
        const uint64_t a = alongRow(at + group * 8192);
        const uint64_t w = alongRow(at + kA);
        productFence();
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          if constexpr (kFloat8)
            Float8Product<TN>::run(d, a + 2 * k, w + 2 * k, k > 0 || (kLong ? (kb - first) % kFloat8Stages != 0 : kb != first));
          else
            Product<TN>::run(d, a + 2 * k, w + 2 * k, 1);
        }
        productCommit();
        productWait<1>();
        if (previous >= 0) release(previous);
        previous = stage;
        if constexpr (kLong) {
          if ((kb - first) % kFloat8Stages == kFloat8Stages - 1 || kb == last - 1) {
            productWait<0>();
#pragma unroll
            for (int i = 0; i < TN / 2; ++i) sums[i] += d[i];
          }
        }
        if (++stage == STAGES) stage = 0, parity ^= 1;
      }
      productWait<0>();
      if (previous >= 0) release(previous);
      const int row = m + group * 64 + ((threadIdx.x >> 5) & 3) * 16 + (lane >> 2);
      if constexpr (kLong) {
#pragma unroll
        for (int i = 0; i < TN / 2; ++i) d[i] = sums[i];
      }
      if constexpr (kFloat8 && !kScaledLate) applyScales<TN>(g, row, n, quad, d);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        // Of eight columns the thread's two.
        float scale = 1;
        if constexpr (kScaledLate) scale = row + 8 * half < g.m ? __ldcg(g.aScales + row + 8 * half) : 0.0f;
        const auto two = [&](int i, float& v0, float& v1) {
          v0 = d[4 * i + 2 * half], v1 = d[4 * i + 2 * half + 1];
          if constexpr (kScaledLate) {
            const float2 w = columnScales(g, n + 8 * i + quad * 2);
            v0 *= scale * w.x, v1 *= scale * w.y;
          }
        };
        if constexpr (E == kTileGated || E == kTileRope) {
#pragma unroll
          for (int j = 0; j < TN / 32; ++j) {
            float v[8];
#pragma unroll
            for (int i = 0; i < 4; ++i) two(4 * j + i, v[2 * i], v[2 * i + 1]);
            if constexpr (E == kTileGated) storeGated(g, row + 8 * half, (n + 32 * j) / 2 + quad * 4, v);
            else storeRope(g, row + 8 * half, n / 32 + j, quad, v);
          }
        } else {
#pragma unroll
          for (int j = 0; j < TN / 16; ++j) {
            float v[4];
            two(2 * j, v[0], v[1]), two(2 * j + 1, v[2], v[3]);
            store4<E>(g, split, row + 8 * half, n + 16 * j + quad * 4, v[0], v[1], v[2], v[3]);
          }
        }
      }
    }
  }
}

#define TURBO_PI_TILES_BODY(WGS, TN, STAGES, ...) tiles<WGS, TN, STAGES, __VA_ARGS__>(&aMap, &wMap, g);
#else
#define TURBO_PI_TILES_BODY(WGS, TN, STAGES, ...)
#endif

}  // namespace turbopi::kernels

using namespace turbopi::kernels;

/// tiles_<epilogue>_<rows>x<columns>; ring stages as shared memory allows (the host counts the same, cuda_tiles.cc).
#define TURBO_PI_TILES(name, WGS, TN, STAGES, ...)                                                                \
  extern "C" __global__ void __launch_bounds__(WGS * 128 + 128, 1)                                                \
      name(const __grid_constant__ Map aMap, const __grid_constant__ Map wMap, const __grid_constant__ Tiles g) { \
    TURBO_PI_TILES_BODY(WGS, TN, STAGES, __VA_ARGS__)                                                             \
  }

TURBO_PI_TILES(tiles_partial_64x64, 1, 64, 8, kTilePartial)
TURBO_PI_TILES(tiles_partial_128x64, 2, 64, 8, kTilePartial)
TURBO_PI_TILES(tiles_partial_128x128, 2, 128, 6, kTilePartial)
TURBO_PI_TILES(tiles_partial_192x128, 3, 128, 5, kTilePartial)
TURBO_PI_TILES(tiles_partial_320x96, 5, 96, 4, kTilePartial)
TURBO_PI_TILES(tiles_partial_128x256, 2, 256, 4, kTilePartial)
TURBO_PI_TILES(tiles_partial_192x192, 3, 192, 4, kTilePartial)
TURBO_PI_TILES(tiles_store_128x64, 2, 64, 8, kTileStore)
TURBO_PI_TILES(tiles_store_128x128, 2, 128, 6, kTileStore)
TURBO_PI_TILES(tiles_store_192x128, 3, 128, 5, kTileStore)
TURBO_PI_TILES(tiles_gelu_128x80, 2, 80, 8, kTileGelu)
TURBO_PI_TILES(tiles_gelu_128x128, 2, 128, 6, kTileGelu)
TURBO_PI_TILES(tiles_gelu_128x144, 2, 144, 6, kTileGelu)
TURBO_PI_TILES(tiles_gelu_192x144, 3, 144, 5, kTileGelu)
TURBO_PI_TILES(tiles_gated_64x64, 1, 64, 13, kTileGated)
TURBO_PI_TILES(tiles_gated_128x64, 2, 64, 9, kTileGated)
TURBO_PI_TILES(tiles_gated_192x64, 3, 64, 7, kTileGated)
TURBO_PI_TILES(tiles_gated_192x128, 3, 128, 5, kTileGated)
TURBO_PI_TILES(tiles_gated_320x96, 5, 96, 4, kTileGated)
TURBO_PI_TILES(tiles_gated_128x256, 2, 256, 4, kTileGated)
TURBO_PI_TILES(tiles_gated_192x192, 3, 192, 4, kTileGated)
TURBO_PI_TILES(tiles_rope_64x32, 1, 32, 16, kTileRope)
TURBO_PI_TILES(tiles_rope_128x32, 2, 32, 10, kTileRope)
TURBO_PI_TILES(tiles_rope_128x64, 2, 64, 8, kTileRope)
TURBO_PI_TILES(tiles_rope_128x128, 2, 128, 6, kTileRope)
TURBO_PI_TILES(tiles_rope_192x128, 3, 128, 5, kTileRope)
TURBO_PI_TILES(tiles_positions_128x128, 2, 128, 6, kTilePositions)
TURBO_PI_TILES(tiles_gelu8_128x144, 2, 144, 6, kTileGelu, kFloat8Short)
TURBO_PI_TILES(tiles_gelu8_192x144, 3, 144, 5, kTileGelu, kFloat8Short)
TURBO_PI_TILES(tiles_partial8_128x128, 2, 128, 6, kTilePartial, kFloat8Long)
TURBO_PI_TILES(tiles_partial8_192x128, 3, 128, 5, kTilePartial, kFloat8Long)
TURBO_PI_TILES(tiles_partial8_128x256, 2, 256, 4, kTilePartial, kFloat8Short)
TURBO_PI_TILES(tiles_partial8_192x192, 3, 192, 4, kTilePartial, kFloat8Short)
TURBO_PI_TILES(tiles_gated8_128x128, 2, 128, 6, kTileGated, kFloat8Long)
TURBO_PI_TILES(tiles_gated8_320x96, 5, 96, 4, kTileGated, kFloat8Short)
TURBO_PI_TILES(tiles_gated8_128x256, 2, 256, 4, kTileGated, kFloat8Short)
TURBO_PI_TILES(tiles_gated8_192x192, 3, 192, 4, kTileGated, kFloat8Short)
