#pragma once
#include "expert_sm90.cuh"

/// The expert's products of rows with weights, and its norms: phases 4 to 6 of expert_sm90.cuh, and what phase 1 shares with
/// them.
namespace turbopi::kernels {

#ifdef TURBO_PI_SM90
template <int MT, bool kFloat8>
__device__ void Expert<MT, kFloat8>::handOut(int r, int q, float2 v, float2 factor, float2 shift) {
  const int column = block * 8 + q * 2;
  const bool valid = r < p.rows;
  unsigned word = valid ? two(v.x * factor.x, v.y * factor.y) : 0u;
  if (r == kShiftRow) word = two(shift.x, shift.y);
  float squares = valid ? v.x * v.x + v.y * v.y : 0.0f;
  squares += __shfl_xor_sync(~0u, squares, 1);
  squares += __shfl_xor_sync(~0u, squares, 2);
  publish(static_cast<unsigned*>(p.normed) + (r >> 4) * 8192 + operandWord(r, column), word);
  if (q == 0) publish(reinterpret_cast<unsigned*>(p.squares) + r * kExpertBlocks + block, __float_as_uint(squares));
}

template <int MT, bool kFloat8>
__device__ void Expert<MT, kFloat8>::findRoots() const {
#pragma unroll
  for (int i = 0; i < MT; ++i) {
    const int r = warp * MT + i;
    const float4 s = __ldcg(reinterpret_cast<const float4*>(p.squares + r * kExpertBlocks) + lane);
    const float sum = warpSum(s.x + s.y + s.z + s.w);
    if (lane == 0) root[r] = rsqrtf(sum * (1.0f / kExpertWidth) + p.epsilon);
  }
}

template <int MT, bool kFloat8>
template <int N>
__device__ void Expert<MT, kFloat8>::strips(const uint4 (&x)[64 / kParts], int first, int count) {
  float c[N][4];
#pragma unroll
  for (int t = 0; t < N; ++t)
#pragma unroll
    for (int e = 0; e < 4; ++e) c[t][e] = 0;
#pragma unroll
  for (int t = 0; t < N; ++t) {
    if (t >= count) break;
    const uint4* w = chunk(first + t) + part * (32 / kParts) * 32 + lane;
#pragma unroll
    for (int j = 0; j < 32 / kParts; ++j) {
      const uint4 b = w[j * 32];
      fragments(c[t], x[2 * j], b.x, b.y);
      fragments(c[t], x[2 * j + 1], b.z, b.w);
    }
  }
  addParts<N>(c);
}

template <int MT, bool kFloat8>
__device__ void Expert<MT, kFloat8>::upStrips(const uint4 (&x)[64 / kParts], const uint4& factors, int first) {
  float c[4][4] = {};
#pragma unroll
  for (int t = 0; t < 4; ++t) {
    const unsigned factor = factorOf(factors, first + t);
    const uint4* w = chunk((first + t) >> 1) + (t & 1) * 512 + part * (16 / kParts) * 32 + lane;
#pragma unroll
    for (int j = 0; j < 16 / kParts; ++j) {
      const uint4 v = w[j * 32];
      const unsigned words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        unsigned b0, b1;
        decodeWord(words[k], factor, b0, b1);
        fragments(c[t], x[4 * j + k], b0, b1);
      }
    }
  }
  addParts<4>(c);
}

template <int MT, bool kFloat8>
template <int N>
__device__ void Expert<MT, kFloat8>::addParts(const float (&c)[N][4]) {
#pragma unroll
  for (int t = 0; t < N; ++t)
    *reinterpret_cast<float4*>(sums + ((part * MT + m) * N + t) * 128 + lane * 4) =
        make_float4(c[t][0], c[t][1], c[t][2], c[t][3]);
  together();
  for (int o = threadIdx.x; o < MT * N * 128; o += 512) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kParts; ++i) sum += sums[i * MT * N * 128 + o];
    sums[o] = sum;
  }
  together();
}

template <int MT, bool kFloat8>
template <int N>
__device__ float Expert<MT, kFloat8>::valueAt(int r, int t, int n) const {
  const auto at = [&](int row) {
    return sums[((row >> 4) * N + t) * 128 + ((row & 7) * 4 + (n >> 1)) * 4 + ((row >> 3) & 1) * 2 + (n & 1)];
  };
  return root[r] * at(r) + at(kShiftRow);
}

template <int MT, bool kFloat8>
__device__ void Expert<MT, kFloat8>::loadNormed(uint4 (&x)[64 / kParts]) const {
  const uint4* from = static_cast<const uint4*>(p.normed) + m * 2048 + part * (64 / kParts) * 32 + lane;
#pragma unroll
  for (int j = 0; j < 64 / kParts; ++j) x[j] = __ldcg(from + j * 32);
}

template <int MT, bool kFloat8>
__device__ void Expert<MT, kFloat8>::addToOwn(int sets, float2 gate, float2 factor, float2 shift, int norm) {
  together();
  if (threadIdx.x >= MT * 64) return;
  const int r = (threadIdx.x >> 5) * 8 + (lane >> 2);
  const int q = lane & 3;
  const float2* from = reinterpret_cast<const float2*>(sums) + threadIdx.x;
  float2 sum = make_float2(0, 0);
  for (int s = 0; s < sets; ++s) sum.x += from[s * MT * 64].x, sum.y += from[s * MT * 64].y;
  float2* mine = reinterpret_cast<float2*>(own[r]) + q;
  const float2 v = make_float2(mine->x + gate.x * sum.x, mine->y + gate.y * sum.y);
  *mine = v;
  if (norm == 2 * p.layers) {
    if (r < p.rows) publish2(p.finalRows + r * kExpertWidth + block * 8 + q * 2, v.x, v.y);
  } else {
    handOut(r, q, v, factor, shift);
  }
}

template <int MT, bool kFloat8>
__device__ void Expert<MT, kFloat8>::outputProjection(int layer) {
  const float2 gate = ownConstant(2 * layer, 2);
  const float2 factor = ownConstant(2 * layer + 1, 0);
  const float2 shift = ownConstant(2 * layer + 1, 1);
  const uint4* x = static_cast<const uint4*>(p.mixed) + m * 4096 + lane;
  float c[4] = {};
  constexpr int kSteps = 128 / kParts;
#pragma unroll
  for (int g = 0; g < kSteps / 8; ++g) {
    const int k0 = part * kSteps + g * 8;
    uint4 a[8];
#pragma unroll
    for (int k = 0; k < 8; ++k) a[k] = __ldcg(x + (k0 + k) * 32);
    const uint4* w = chunk(k0 >> 6) + (k0 & 63) / 2 * 32 + lane;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const uint4 b = w[j * 32];
      fragments(c, a[2 * j], b.x, b.y);
      fragments(c, a[2 * j + 1], b.z, b.w);
    }
  }
  consumed += 2;
  float2* to = reinterpret_cast<float2*>(sums) + part * MT * 64 + m * 64 + lane;
  to[0] = make_float2(c[0], c[1]);
  to[32] = make_float2(c[2], c[3]);
  addToOwn(kParts, gate, factor, shift, 2 * layer + 1);
}

template <int MT, bool kFloat8>
__device__ void Expert<MT, kFloat8>::feedForward(int layer) {
  uint4 upFactors, downFactors;
  if constexpr (kFloat8) {
    const uint4* scales = static_cast<const uint4*>(p.scales) + layer * kExpertLayerScales;
    upFactors = __ldg(scales + block * 8 + (lane >> 2));
    downFactors = __ldg(scales + kExpertBlocks * 8 + warp * 8 + (lane >> 2));
  }
  uint4 x[64 / kParts];
  loadNormed(x);
  findRoots();
  unsigned hidden[2] = {0, 0};
  const int r = threadIdx.x >> 3;
  const int column = (threadIdx.x & 7) * 2;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    if constexpr (kFloat8) upStrips(x, upFactors, half * 4);
    else strips<4>(x, half * 4, 4);
    if (threadIdx.x < MT * 128) {
      const int t = column >> 3 << 1;
      const int n = column & 7;
      hidden[half] = two(geluFast(valueAt<4>(r, t, n)) * valueAt<4>(r, t + 1, n),
                         geluFast(valueAt<4>(r, t, n + 1)) * valueAt<4>(r, t + 1, n + 1));
    }
    together();
  }
  unsigned* operand = reinterpret_cast<unsigned*>(sums);
  if (threadIdx.x < MT * 128)
#pragma unroll
    for (int half = 0; half < 2; ++half) operand[((r >> 4) * 2 + half) * 128 + operandWord(r & 15, column)] = hidden[half];
  together();
  uint4 a[MT][2];
#pragma unroll
  for (int i = 0; i < MT; ++i)
#pragma unroll
    for (int k = 0; k < 2; ++k) a[i][k] = reinterpret_cast<const uint4*>(sums)[(i * 2 + k) * 32 + lane];
  const uint4* w = kFloat8 ? chunk(kUpChunks + (warp >> 3)) + (warp & 7) * 4 * 32 + lane
                           : chunk(kUpChunks + (warp >> 2)) + (warp & 3) * 8 * 32 + lane;
  float2* to = reinterpret_cast<float2*>(p.downParts) + static_cast<long long>(block) * MT * 8192 + warp * 8 * 32 + lane;
#pragma unroll
  for (int t = 0; t < 8; ++t) {
    uint4 b;
    if constexpr (kFloat8) {
      const uint4 v = w[t / 2 * 32];
      decodeWord(t & 1 ? v.z : v.x, factorOf(downFactors, t), b.x, b.y);
      decodeWord(t & 1 ? v.w : v.y, factorOf(downFactors, t), b.z, b.w);
    } else {
      b = w[t * 32];
    }
#pragma unroll
    for (int i = 0; i < MT; ++i) {
      float c[4] = {};
      fragments(c, a[i][0], b.x, b.y);
      fragments(c, a[i][1], b.z, b.w);
#pragma unroll
      for (int h = 0; h < 2; ++h)
        if (i * 16 + h * 8 + (lane >> 2) < p.rows)
          __stcg(to + (i * 2 + h) * 4096 + t * 32, make_float2(c[2 * h], c[2 * h + 1]));
    }
  }
  consumed += kUpChunks + kDownChunks;
}

template <int MT, bool kFloat8>
__device__ void Expert<MT, kFloat8>::addDown(int layer) {
  const float2 gate = ownConstant(2 * layer + 1, 2);
  const float2 factor = ownConstant(2 * layer + 2, 0);
  const float2 shift = ownConstant(2 * layer + 2, 1);
  constexpr int kEach = kExpertBlocks / kWarps;
  const float2* from = reinterpret_cast<const float2*>(p.downParts) + block * 32 + lane;
  float2 sum[MT * 2];
#pragma unroll
  for (int i = 0; i < MT * 2; ++i) {
    // All loads at once; rows that are not there read what the first row has, and are dropped at the end.
    const int at = i * 8 + (lane >> 2) < p.rows ? i : 0;
    float2 v[kEach];
#pragma unroll
    for (int b = 0; b < kEach; ++b)
      v[b] = __ldcg(from + (static_cast<long long>(warp * kEach + b) * MT * 2 + at) * 4096);
    sum[i] = v[0];
#pragma unroll
    for (int b = 1; b < kEach; ++b) sum[i].x += v[b].x, sum[i].y += v[b].y;
  }
  float2* to = reinterpret_cast<float2*>(sums) + warp * MT * 64 + lane;
#pragma unroll
  for (int i = 0; i < MT * 2; ++i) to[i * 32] = sum[i];
  addToOwn(kWarps, gate, factor, shift, 2 * layer + 2);
}
#endif

}  // namespace turbopi::kernels
