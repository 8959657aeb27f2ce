#include "expert_attention_sm90.cuh"
#include "expert_projections_sm90.cuh"

/// One denoise step: the phases of expert_sm90.cuh from the embedded actions to the sampler's step.
namespace turbopi::kernels {

#ifdef TURBO_PI_SM90
template <int MT, bool kFloat8>
__device__ void Expert<MT, kFloat8>::embed() {
  if (threadIdx.x >= MT * 64) return;
  const int r = threadIdx.x >> 2;
  const int q = threadIdx.x & 3;
  const int column = block * 8 + q * 2;
  float2 v = make_float2(0, 0);
  if (r < p.rows) {
    if (p.tokens) {
      v = *reinterpret_cast<const float2*>(p.tokens + r * kExpertWidth + column);
    } else {
      for (int j = 0; j < p.actionDim; ++j) {
        const float x = p.x[r * p.actionDim + j];
        v.x = fmaf(x, p.inWeight[column * p.actionDim + j], v.x);
        v.y = fmaf(x, p.inWeight[(column + 1) * p.actionDim + j], v.y);
      }
      v.x += p.inBias[column], v.y += p.inBias[column + 1];
    }
  }
  reinterpret_cast<float2*>(own[r])[q] = v;
  handOut(r, q, v, ownConstant(0, 0), ownConstant(0, 1));
}

template <int MT, bool kFloat8>
__device__ void Expert<MT, kFloat8>::finish() {
  const int r = block + p.firstAction;
  if (r >= p.rows) return;
  float* shared = sums + kExpertWidth;
  const int i = threadIdx.x * 2;
  const float2 v = __ldcg(reinterpret_cast<const float2*>(p.finalRows + r * kExpertWidth + i));
  const float part = warpSum(v.x * v.x + v.y * v.y);
  if (lane == 0) shared[warp] = part;
  together();
  float squares = 0;
  for (int w = 0; w < kWarps; ++w) squares += shared[w];
  const float scale = 1.0f / sqrtf(squares * (1.0f / kExpertWidth) + p.epsilon);
  const float2 factor = *reinterpret_cast<const float2*>(constants(2 * p.layers, 0) + i);
  const float2 shift = *reinterpret_cast<const float2*>(constants(2 * p.layers, 1) + i);
  sums[i] = v.x * scale * factor.x + shift.x;
  sums[i + 1] = v.y * scale * factor.y + shift.y;
  together();
  for (int n = warp; n < p.actionDim; n += kWarps) {
    float sum = 0;
    for (int k = lane; k < kExpertWidth; k += 32) sum = fmaf(sums[k], p.outWeight[n * kExpertWidth + k], sum);
    sum = warpSum(sum);
    if (lane != 0) continue;
    const int at = block * p.actionDim + n;
    sum += p.outBias[n];
    p.velocity[at] = sum;
    const float* factor = p.factors + block * 3;
    p.next[at] = factor[0] * p.x[at] + factor[1] * sum + factor[2] * p.target[at];
  }
}

template <int MT, bool kFloat8>
__device__ void Expert<MT, kFloat8>::run() {
  const int length = static_cast<int>(p.lengths[0]);
  embed();
  barrier<false>();
  for (int l = 0; l < p.layers; ++l) {
    queriesKeysValues(length);
    barrier<false>();
    attend(length);
    consumed += prefixChunks();
    barrier<false>();
    combine();
    barrier<false>();
    outputProjection(l);
    barrier<false>();
    feedForward(l);
    barrier<true>();
    addDown(l);
    barrier<false>();
  }
  finish();
}

template <int MT, bool kFloat8>
__device__ __forceinline__ void expertStep(const ExpertStep& p) {
  extern __shared__ __align__(128) unsigned char chunks[];
  __shared__ float own[MT * 16][8];
  __shared__ float root[MT * 16];
  __shared__ __align__(8) uint64_t full[kSlots], empty[kSlots];
  if (threadIdx.x == 0) {
    for (int i = 0; i < kSlots; ++i) {
      barrierInit(full + i, 1);
      barrierInit(empty + i, kWarps);
    }
    barrierInitDone();
  }
  __syncthreads();
  Expert<MT, kFloat8> expert(p);
  expert.ring = chunks;
  expert.sums = reinterpret_cast<float*>(chunks + kSlots * kExpertChunk);
  expert.own = own;
  expert.root = root;
  expert.full = full;
  expert.empty = empty;
  if (threadIdx.x == 0) {
    // No block passes the first barrier before all have read: the count is within one round of a multiple.
    unsigned seen;
    asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(p.arrivals) : "memory");
    expert.target = seen / kExpertBlocks * kExpertBlocks;
  }
  if (threadIdx.x >= kWarps * 32) {
    fewerRegisters<24>();
    if (threadIdx.x < kWarps * 32 + 32) expert.produce();
  } else {
    moreRegisters<112>();
    expert.run();
  }
}
#endif

}  // namespace turbopi::kernels

using namespace turbopi::kernels;

#ifdef TURBO_PI_SM90
#define TURBO_PI_EXPERT_BODY(MT, kFloat8) expertStep<MT, kFloat8>(p);
#else
#define TURBO_PI_EXPERT_BODY(MT, kFloat8)
#endif
#define TURBO_PI_EXPERT(name, MT, kFloat8)                                                           \
  extern "C" __global__ void __launch_bounds__(640, 1) name(const __grid_constant__ ExpertStep p) { \
    TURBO_PI_EXPERT_BODY(MT, kFloat8)                                                                \
  }
TURBO_PI_EXPERT(expert_step_1, 1, false)
TURBO_PI_EXPERT(expert_step_2, 2, false)
TURBO_PI_EXPERT(expert_step_float8_1, 1, true)
TURBO_PI_EXPERT(expert_step_float8_2, 2, true)
