#pragma once
#include "expert_sm90.cuh"

/// The expert's attention: phases 1 to 3 of expert_sm90.cuh.
namespace turbopi::kernels {

#ifdef TURBO_PI_SM90
template <int MT, bool kFloat8>
__device__ void Expert<MT, kFloat8>::queriesKeysValues(int length) {
  uint4 x[64 / kParts];
  loadNormed(x);
  findRoots();
  const int count = ownStrips();
  strips<3>(x, 0, count);
  consumed += count;
  for (int i = threadIdx.x; i < count * p.rows * 2; i += 512) {
    const int half = i & 1;
    const int r = (i >> 1) % p.rows;
    const int t = (i >> 1) / p.rows;
    const int strip = block + t * kExpertBlocks;
    const int head = strip >> 5;
    if (head <= kExpertHeads) {
      const int d = (strip & 31) * 4 + half * 2;
      const float a0 = valueAt<3>(r, t, half * 2), a1 = valueAt<3>(r, t, half * 2 + 1);
      const float b0 = valueAt<3>(r, t, 4 + half * 2), b1 = valueAt<3>(r, t, 5 + half * 2);
      const float4 s = *reinterpret_cast<const float4*>(p.rope + static_cast<long long>(length + r) * 128 + d);
      const float x0 = a0 * s.x - b0 * s.y, x1 = a1 * s.z - b1 * s.w;
      const float y0 = b0 * s.x + a0 * s.y, y1 = b1 * s.z + a1 * s.w;
      if (head < kExpertHeads) {
        unsigned* q = static_cast<unsigned*>(p.queries) + (head * MT + (r >> 4)) * 2048;
        publish(q + operandWord(r, d), two(x0, x1));
        publish(q + operandWord(r, d + 128), two(y0, y1));
      } else {
        unsigned* k = static_cast<unsigned*>(p.ownCache) + (r >> 4) * 4096;
        publish(k + keyWord(r, d), two(x0, x1));
        publish(k + keyWord(r, d + 128), two(y0, y1));
      }
    } else {
      // Two rows of one column are a word: the even row's thread writes both.
      if (r & 1) continue;
      unsigned* v = static_cast<unsigned*>(p.ownCache) + (r >> 4) * 4096 + 2048;
      const bool second = r + 1 < p.rows;
      for (int n = half * 4; n < half * 4 + 4; ++n) {
        const int d = (strip & 31) * 8 + n;
        publish(v + ((d >> 4) * 32 + (d & 7) * 4 + ((r & 7) >> 1)) * 4 + ((d >> 3) & 1) * 2 + ((r >> 3) & 1),
                two(valueAt<3>(r, t, n), second ? valueAt<3>(r + 1, t, n) : 0.0f));
      }
    }
  }
}

template <int MT, bool kFloat8>
__device__ int Expert<MT, kFloat8>::keyWord(int r, int d) {
  return ((((r >> 3) & 1) * 8 + (d >> 5)) * 32 + (r & 7) * 4 + ((d & 7) >> 1)) * 4 + ((d & 31) >> 3);
}

template <int MT, bool kFloat8>
__device__ void Expert<MT, kFloat8>::attend(int length) {
  const int head = block >> 4;
  const int split = block & (kExpertMostSplits - 1);
  const bool prefix = split < p.prefixSplits;
  const int ownFirst = (split - p.prefixSplits) * p.chunksPerSplit;
  const int ownChunks = (p.rows + kExpertCacheKeys - 1) / kExpertCacheKeys;
  const int chunks = prefix ? prefixChunks() : min(p.chunksPerSplit, ownChunks - ownFirst);
  if (chunks <= 0) return;
  const int stride = p.chunksPerSplit * 16 + 4;
  float* logits = sums;
  uint4* weights = reinterpret_cast<uint4*>(sums + kRows * stride);
  const uint4* global = static_cast<const uint4*>(p.ownCache) + ownFirst * 1024;
  const uint4* q = static_cast<const uint4*>(p.queries) + head * MT * 512 + lane;
  for (int i = warp; i < MT * chunks * 2; i += kWarps) {
    const int rows = i % MT;
    const int strip = i / MT;
    uint4 a[16];
#pragma unroll
    for (int k = 0; k < 16; ++k) a[k] = __ldcg(q + (rows * 16 + k) * 32);
    float c[2][4] = {};
    const int at = (strip & 1) * 256 + lane;
    if (prefix) {
      const uint4* keys = chunk(strip >> 1) + at;
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const uint4 b = keys[j * 32];
        fragments(c[0], a[2 * j], b.x, b.y);
        fragments(c[1], a[2 * j + 1], b.z, b.w);
      }
    } else {
      const uint4* keys = global + (strip >> 1) * 1024 + at;
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const uint4 b = __ldcg(keys + j * 32);
        fragments(c[0], a[2 * j], b.x, b.y);
        fragments(c[1], a[2 * j + 1], b.z, b.w);
      }
    }
#pragma unroll
    for (int e = 0; e < 4; ++e)
      logits[(rows * 16 + (lane >> 2) + (e >> 1) * 8) * stride + strip * 8 + (lane & 3) * 2 + (e & 1)] =
          c[0][e] + c[1][e];
  }
  together();
  const int first = prefix ? split * p.chunksPerSplit * 16 : ownFirst * 16;
  const float scale = 0.0625f * 1.4426950408889634f;
#pragma unroll
  for (int i = 0; i < MT; ++i) {
    const int r = warp + i * kWarps;
    const int limit = prefix ? length : (p.stateRow && r == 0 ? 1 : p.rows);
    float v[3];
    float most = -INFINITY;
#pragma unroll
    for (int k = 0; k < 3; ++k) {
      const int key = lane + k * 32;
      v[k] = key < chunks * 16 && first + key < limit ? logits[r * stride + key] * scale : -INFINITY;
      most = fmaxf(most, v[k]);
    }
    most = warpMax(most);
    const float base = most == -INFINITY ? 0.0f : most;
    float sum = 0;
    bf16* to = reinterpret_cast<bf16*>(weights + i * p.chunksPerSplit * 32);
#pragma unroll
    for (int k = 0; k < 3; ++k) {
      const int key = lane + k * 32;
      v[k] = exp2f(v[k] - base);
      sum += v[k];
      if (key < chunks * 16) to[operandWord(r & 15, key & ~1) * 2 + (key & 1)] = narrow<bf16>(v[k]);
    }
    sum = warpSum(sum);
    if (lane == 0 && r < p.rows) publish2(p.mixedSums + (split * kExpertHeads + head) * kRows + r, most, sum);
  }
  together();
  float* parts = p.mixedParts + static_cast<long long>(split * kExpertHeads + head) * kRows * kExpertHeadDim;
#pragma unroll
  for (int i = 0; i < MT; ++i) {
    float c[2][4] = {};
    for (int k = 0; k < chunks; ++k) {
      // Row r of the logits is row r / 16 of a warp's turn: rows i·16 … of fragment block i.
      const uint4 a = weights[(i * p.chunksPerSplit + k) * 32 + lane];
      const uint4 b = prefix ? (chunk(k) + 512)[warp * 32 + lane] : __ldcg(global + k * 1024 + 512 + warp * 32 + lane);
      fragments(c[0], a, b.x, b.y);
      fragments(c[1], a, b.z, b.w);
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int r = i * 16 + (lane >> 2) + h * 8;
      if (r >= p.rows) continue;
      float* to = parts + r * kExpertHeadDim + warp * 16 + (lane & 3) * 2;
      publish2(to, c[0][2 * h], c[0][2 * h + 1]);
      publish2(to + 8, c[1][2 * h], c[1][2 * h + 1]);
    }
  }
}

template <int MT, bool kFloat8>
__device__ void Expert<MT, kFloat8>::combine() {
  const int item = block + warp * kExpertBlocks;
  if (item >= kExpertHeads * p.rows * 4) return;
  const int quarter = item & 3;
  const int r = (item >> 2) % p.rows;
  const int head = (item >> 2) / p.rows;
  const int splits = p.prefixSplits + p.ownSplits;
  const float2 mine = lane < splits ? __ldcg(p.mixedSums + (lane * kExpertHeads + head) * kRows + r)
                                    : make_float2(-INFINITY, 0.0f);
  const int d = quarter * 64 + lane * 2;
  // All loads at once; past the last part the last one again, with no weight.
  const float* first = p.mixedParts + static_cast<long long>(head * kRows + r) * kExpertHeadDim + d;
  float2 v[kExpertMostSplits];
#pragma unroll
  for (int s = 0; s < kExpertMostSplits; ++s)
    v[s] = __ldcg(reinterpret_cast<const float2*>(
        first + static_cast<long long>(min(s, splits - 1)) * kExpertHeads * kRows * kExpertHeadDim));
  const float most = warpMax(mine.x);
  const float factor = mine.x == -INFINITY ? 0.0f : exp2f(mine.x - most);
  const float all = warpSum(factor * mine.y);
  float2 sum = make_float2(0, 0);
#pragma unroll
  for (int s = 0; s < kExpertMostSplits; ++s) {
    const float f = __shfl_sync(~0u, factor, s);
    sum.x += f * v[s].x, sum.y += f * v[s].y;
  }
  publish(static_cast<unsigned*>(p.mixed) + (r >> 4) * 16384 + operandWord(r, head * 256 + d),
          two(sum.x / all, sum.y / all));
}
#endif

}  // namespace turbopi::kernels
