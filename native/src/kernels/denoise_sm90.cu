#include "hopper.cuh"

/// One denoise step of the expert as one kernel: 128 blocks stay on their multiprocessors through all layers.
///
/// Every block streams its own share of the weights, packed in the order of use, through a ring of twelve 16 KB chunks
/// that one producer thread keeps full; the weights of the next phases arrive while the blocks exchange results. A layer
/// has six phases with a barrier of the grid after each:
///   1. q|k|v: each block has two or three strips of eight columns; RoPE; q, k and v go out in fragment order
///   2. attention: a block has one head and one part of the keys; it leaves sums, maxima and weighted values
///   3. the parts of each head are put together
///   4. output projection: each block owns eight columns of the residual stream, which stay in its shared memory; it
///      adds them, and hands out its columns times the next norm's factor, and their squares
///   5. gate|up and down together: a block has 32 hidden columns, and multiplies them with the 32 rows of down at once
///   6. the 128 parts of down are added by the owners, who hand out as in 4
/// A norm needs no pass of its own: its factor is on the columns that are handed out, its root is applied to the sums,
/// and its shift is one more row of the operand, whose product is added.
///
/// Results are published with exchanges that return, then counted: a release would wait for all bulk copies in flight
/// on the multiprocessor. The order of all sums is fixed.
///
/// Reads the expert's 311 M weights once: floor 0.21 ms at 3 TB/s. The reference is the stage of cuda_reference.cc.
namespace turbopi::kernels {

#ifdef TURBO_PI_SM90
namespace {
constexpr int kSlots = 12;
constexpr int kWarps = 16;
/// Copies on their way at once. More would keep memory busier, and stand before the loads of results: 4.6, 5.1 and
/// 5.5 ms for ten steps with one, two and six.
constexpr int kInFlight = 1;
}  // namespace

__device__ __forceinline__ void fragments(float* c, const uint4& a, unsigned b0, unsigned b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
}
__device__ __forceinline__ unsigned two(float a, float b) {
  const __nv_bfloat162 p = __floats2bfloat162_rn(a, b);
  return *reinterpret_cast<const unsigned*>(&p);
}
/// Among the consumer warps.
__device__ __forceinline__ void together() { asm volatile("bar.sync 1, 512;" ::: "memory"); }
/// Offset in words of row r's pair of columns (k, k + 1) in an operand of 16 × 16 fragments.
__device__ __forceinline__ int operandWord(int r, int k) {
  return (k >> 4) * 128 + ((r & 7) * 4 + ((k & 7) >> 1)) * 4 + ((k >> 3) & 1) * 2 + ((r >> 3) & 1);
}

template <int MT>
struct Expert {
  static constexpr int kRows = MT * 16;
  static constexpr int kShiftRow = kRows - 1;
  static constexpr int kParts = kWarps / MT;

  const ExpertStep& p;
  unsigned char* ring;
  float* sums;
  float (*own)[8];
  float* root;
  uint64_t* full;
  uint64_t* empty;
  int consumed = 0;
  int released = 0;
  unsigned target;
  unsigned witness = 0;
  const int block = blockIdx.x;
  const int warp = threadIdx.x >> 5;
  const int lane = threadIdx.x & 31;
  /// The part of the contraction and the sixteen rows that a warp has.
  const int part = warp / MT;
  const int m = warp % MT;

  __device__ Expert(const ExpertStep& step) : p(step) {}

  /// Stores whose return says that they have been performed: `witness` depends on it.
  __device__ void publish(unsigned* to, unsigned v) {
    unsigned old;
    asm volatile("atom.exch.relaxed.gpu.global.b32 %0, [%1], %2;" : "=r"(old) : "l"(to), "r"(v) : "memory");
    witness |= old;
  }
  __device__ void publish2(void* to, float a, float b) {
    const unsigned long long v =
        static_cast<unsigned long long>(__float_as_uint(b)) << 32 | static_cast<unsigned long long>(__float_as_uint(a));
    unsigned long long old;
    asm volatile("atom.exch.relaxed.gpu.global.b64 %0, [%1], %2;" : "=l"(old) : "l"(to), "l"(v) : "memory");
    witness |= static_cast<unsigned>(old);
  }

  /// Ends a phase: what this block published can be read by all, and what it consumed may be overwritten.
  template <bool kRelease>
  __device__ void barrier() {
    // Waits for what this thread published: the comparison needs it, whatever comes of it.
    if (!kRelease)
      asm volatile("{\n.reg .pred p;\nsetp.eq.u32 p, %0, 0x5eed5eed;\n@p nanosleep.u32 0;\n}" ::"r"(witness) : "memory");
    together();
    if (threadIdx.x == 0) {
      target += kExpertBlocks;
      if (kRelease)
        asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(p.arrivals) : "memory");
      else
        asm volatile("red.relaxed.gpu.global.add.u32 [%0], 1;" ::"l"(p.arrivals) : "memory");
    }
    if (lane == 0)
      for (; released < consumed; ++released) barrierArrive(empty + released % kSlots);
    if (threadIdx.x == 0) {
      unsigned seen;
      do {
        // No acquire, which would empty the first-level cache: what others wrote is read past it.
        asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(p.arrivals) : "memory");
      } while (static_cast<int>(seen - target) < 0);
    }
    together();
  }

  __device__ const uint4* chunk(int i) const {
    const int c = consumed + i;
    barrierWait(full + c % kSlots, c / kSlots & 1);
    return reinterpret_cast<const uint4*>(ring + c % kSlots * kExpertChunk);
  }

  __device__ int ownStrips() const { return block < kExpertBlocks / 2 ? 3 : 2; }
  /// Chunks of the prefix's keys and values that this block attends to.
  __device__ int prefixChunks() const {
    const int split = block & (kExpertMostSplits - 1);
    return split < p.prefixSplits ? min(p.chunksPerSplit, p.cacheChunks - split * p.chunksPerSplit) : 0;
  }
  __device__ const float* constants(int norm, int which) const {
    return p.modulation + (norm * 3 + which) * kExpertWidth;
  }

  __device__ void produce() {
    if (lane != 0) return;
    const unsigned char* weights =
        static_cast<const unsigned char*>(p.weights) +
        static_cast<long long>(block * 16 + min(block, kExpertBlocks / 2)) * kExpertChunk;
    const unsigned char* cache = static_cast<const unsigned char*>(p.cache) +
                                 static_cast<long long>(block & (kExpertMostSplits - 1)) * p.chunksPerSplit * kExpertChunk;
    int c = 0;
    const auto load = [&](const unsigned char* from) {
      const int slot = c % kSlots;
      if (c >= kSlots) barrierWait(empty + slot, (c / kSlots - 1) & 1);
      if (c >= kInFlight) barrierWait(full + (c - kInFlight) % kSlots, (c - kInFlight) / kSlots & 1);
      barrierExpect(full + slot, kExpertChunk);
      copyBytes(ring + slot * kExpertChunk, from, kExpertChunk, full + slot);
      ++c;
    };
    const int strips = ownStrips();
    const int keys = prefixChunks();
    for (int l = 0; l < p.layers; ++l) {
      for (int i = 0; i < strips; ++i) load(weights + i * kExpertChunk);
      for (int i = 0; i < keys; ++i) load(cache + i * kExpertChunk);
      for (int i = 0; i < 14; ++i) load(weights + (strips + i) * kExpertChunk);
      weights += static_cast<long long>(kExpertLayerChunks) * kExpertChunk;
      cache += static_cast<long long>(p.cacheChunks) * kExpertChunk;
    }
  }

  /// A constant of `norm` for the thread's pair of this block's columns.
  __device__ float2 ownConstant(int norm, int which) const {
    return *reinterpret_cast<const float2*>(constants(norm, which) + block * 8 + (lane & 3) * 2);
  }

  /// Hands out this block's columns of row r times the next norm's factor, its shift as the last row, and the sum of the
  /// row's squares. Threads of one quad have the row's four pairs of columns.
  __device__ void handOut(int r, int q, float2 v, float2 factor, float2 shift) {
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

  /// The root of the norm of each row, from all blocks' squares. Followed by `together`.
  __device__ void findRoots() const {
#pragma unroll
    for (int i = 0; i < MT; ++i) {
      const int r = warp * MT + i;
      const float4 s = __ldcg(reinterpret_cast<const float4*>(p.squares + r * kExpertBlocks) + lane);
      const float sum = warpSum(s.x + s.y + s.z + s.w);
      if (lane == 0) root[r] = rsqrtf(sum * (1.0f / kExpertWidth) + p.epsilon);
    }
  }

  /// Products of the handed out rows with N strips of eight columns, whose chunks begin at `first`, summed over the warps
  /// in a fixed order to sums[(m·N + t)·128 + element].
  template <int N>
  __device__ void strips(const uint4 (&x)[64 / kParts], int first, int count) {
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

  /// The normed product of row r with column n of strip t.
  template <int N>
  __device__ float valueAt(int r, int t, int n) const {
    const auto at = [&](int row) {
      return sums[((row >> 4) * N + t) * 128 + ((row & 7) * 4 + (n >> 1)) * 4 + ((row >> 3) & 1) * 2 + (n & 1)];
    };
    return root[r] * at(r) + at(kShiftRow);
  }

  __device__ void loadNormed(uint4 (&x)[64 / kParts]) const {
    const uint4* from = static_cast<const uint4*>(p.normed) + m * 2048 + part * (64 / kParts) * 32 + lane;
#pragma unroll
    for (int j = 0; j < 64 / kParts; ++j) x[j] = __ldcg(from + j * 32);
  }

  __device__ void queriesKeysValues(int length) {
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
  /// Offset in words of key r's pair of dimensions (d, d + 1) in its chunk.
  __device__ static int keyWord(int r, int d) {
    return ((((r >> 3) & 1) * 8 + (d >> 5)) * 32 + (r & 7) * 4 + ((d & 7) >> 1)) * 4 + ((d & 31) >> 3);
  }

  __device__ void attend(int length) {
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

  /// A warp has a quarter of a head of a row.
  __device__ void combine() {
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

  /// Adds the summed parts to this block's columns, gated, and hands them out for `norm`; for the last they are written
  /// out. The constants were loaded before the parts.
  __device__ void addToOwn(int sets, float2 gate, float2 factor, float2 shift, int norm) {
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

  __device__ void outputProjection(int layer) {
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

  __device__ void feedForward() {
    uint4 x[64 / kParts];
    loadNormed(x);
    findRoots();
    unsigned hidden[2] = {0, 0};
    const int r = threadIdx.x >> 3;
    const int column = (threadIdx.x & 7) * 2;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      strips<4>(x, half * 4, 4);
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
    const uint4* w = chunk(8 + (warp >> 2)) + (warp & 3) * 8 * 32 + lane;
    float2* to = reinterpret_cast<float2*>(p.downParts) + static_cast<long long>(block) * MT * 8192 + warp * 8 * 32 + lane;
#pragma unroll
    for (int t = 0; t < 8; ++t) {
      const uint4 b = w[t * 32];
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
    consumed += 12;
  }

  __device__ void addDown(int layer) {
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

  /// The first tokens' own columns.
  __device__ void embed() {
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

  /// A block has one row: final norm, output projection in float32, the sampler's step.
  __device__ void finish() {
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

  __device__ void run() {
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
      feedForward();
      barrier<true>();
      addDown(l);
      barrier<false>();
    }
    finish();
  }
};

template <int MT>
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
  Expert<MT> expert(p);
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

/// Word w of a fragment-ordered strip of eight rows of a matrix: rows `row` + lane / 4, columns from k.
__device__ __forceinline__ uint4 stripPiece(const bf16* row, int k, int quad) {
  const unsigned* at = reinterpret_cast<const unsigned*>(row + k + quad * 2);
  return make_uint4(at[0], at[4], at[8], at[12]);
}

/// One layer's weights in the order in which the blocks stream them; a block of threads a chunk.
__device__ __forceinline__ void packExpert(const bf16* qkv, const bf16* o, const bf16* gateUp, const bf16* down,
                                           uint4* out) {
  const int piece = blockIdx.x;
  const int half = kExpertBlocks / 2;
  const int block = piece < half * 17 ? piece / 17 : half + (piece - half * 17) / 16;
  const int strips = block < half ? 3 : 2;
  const int c = piece - block * 16 - min(block, half);
  for (int i = threadIdx.x; i < 1024; i += blockDim.x) {
    const int lane = i & 31;
    const int j = i >> 5;
    const int n = lane >> 2;
    const int quad = lane & 3;
    uint4 v;
    if (c < strips) {
      const int strip = block + c * kExpertBlocks;
      const int head = strip >> 5;
      const int row = head <= kExpertHeads ? head * 256 + (strip & 31) * 4 + (n & 3) + (n >> 2) * 128 : strip * 8 + n;
      v = stripPiece(qkv + static_cast<long long>(row) * kExpertWidth, j * 32, quad);
    } else if (c < strips + 2) {
      v = stripPiece(o + static_cast<long long>(block * 8 + n) * 2048 + (c - strips) * 1024, j * 32, quad);
    } else if (c < strips + 10) {
      const int g = c - strips - 2;
      const int row = (g & 1) * kExpertMlp + (block * 4 + g / 2) * 8 + n;
      v = stripPiece(gateUp + static_cast<long long>(row) * kExpertWidth, j * 32, quad);
    } else {
      const int row = ((c - strips - 10) * 32 + j) * 8 + n;
      v = stripPiece(down + static_cast<long long>(row) * kExpertMlp, block * 32, quad);
    }
    out[static_cast<long long>(piece) * 1024 + i] = v;
  }
}

/// One chunk of sixteen tokens of one layer's keys and values, zeros past the row's length.
__device__ __forceinline__ void packCache(const bf16* keys, const bf16* values, const long long* lengths, uint4* out) {
  const int length = static_cast<int>(lengths[0]);
  const int first = blockIdx.x * kExpertCacheKeys;
  uint4* to = out + static_cast<long long>(blockIdx.x) * 1024;
  for (int i = threadIdx.x; i < 1024; i += blockDim.x) {
    const int lane = i & 31;
    const int quad = lane & 3;
    uint4 v = make_uint4(0, 0, 0, 0);
    if (i < 512) {
      const int key = first + (i >> 8) * 8 + (lane >> 2);
      if (key < length) v = stripPiece(keys + static_cast<long long>(key) * 256, (i >> 5 & 7) * 32, quad);
    } else {
      const int d = ((i - 512) >> 5) * 16 + (lane >> 2);
      const unsigned short* from = reinterpret_cast<const unsigned short*>(values);
      const auto at = [&](int key, int dim) {
        return first + key < length ? static_cast<unsigned>(from[static_cast<long long>(first + key) * 256 + dim]) : 0u;
      };
      const auto word = [&](int key, int dim) { return at(key, dim) | at(key + 1, dim) << 16; };
      v = make_uint4(word(quad * 2, d), word(quad * 2 + 8, d), word(quad * 2, d + 8), word(quad * 2 + 8, d + 8));
    }
    to[i] = v;
  }
}

/// pi0's norms have neither shift nor gate, and no time: [norms, (1 + w, 0, 1), width].
__device__ __forceinline__ void plainConstants(const float* weight, float* out) {
  for (int i = threadIdx.x; i < kExpertWidth; i += blockDim.x) {
    out[i] = 1.0f + weight[i];
    out[kExpertWidth + i] = 0.0f;
    out[2 * kExpertWidth + i] = 1.0f;
  }
}

}  // namespace turbopi::kernels

using namespace turbopi::kernels;

#ifdef TURBO_PI_SM90
#define TURBO_PI_EXPERT_BODY(MT) expertStep<MT>(p);
#else
#define TURBO_PI_EXPERT_BODY(MT)
#endif
#define TURBO_PI_EXPERT(MT)                                                                                     \
  extern "C" __global__ void __launch_bounds__(640, 1) expert_step_##MT(const __grid_constant__ ExpertStep p) { \
    TURBO_PI_EXPERT_BODY(MT)                                                                                    \
  }
TURBO_PI_EXPERT(1)
TURBO_PI_EXPERT(2)

extern "C" __global__ void expert_pack(const bf16* qkv, const bf16* o, const bf16* gateUp, const bf16* down, uint4* out) {
  packExpert(qkv, o, gateUp, down, out);
}
extern "C" __global__ void expert_cache(const bf16* keys, const bf16* values, const long long* lengths, uint4* out) {
  letLaterStart();
  awaitEarlier();
  packCache(keys, values, lengths, out);
}
extern "C" __global__ void expert_plain_constants(const float* weight, float* out) { plainConstants(weight, out); }
