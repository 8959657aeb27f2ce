#pragma once
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
/// With 8-bit floats the MLP's weights come as bytes and become bf16 in registers, exactly, since their scales are powers of
/// two: everything after that is the same.
///
/// Reads the expert's 311 M weights once: floor 0.21 ms at 3 TB/s, 0.13 with 8-bit floats. The reference is the stage of
/// cuda_reference.cc.
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
/// Two bf16 numbers from 8-bit floats in the upper bytes of both halves of a word; what lies in the lower ones is dropped.
/// The bits are those of bf16 with an exponent 120 too small, which `factor` has beside the row's scale.
__device__ __forceinline__ unsigned decoded(unsigned signs, unsigned rest, unsigned factor) {
  const unsigned bits = (signs & 0x80008000u) | (rest & 0x07f007f0u);
  const __nv_bfloat162 v =
      __hmul2(*reinterpret_cast<const __nv_bfloat162*>(&bits), *reinterpret_cast<const __nv_bfloat162*>(&factor));
  return *reinterpret_cast<const unsigned*>(&v);
}
/// A word of four: its upper bytes, then its lower ones.
__device__ __forceinline__ void decodeWord(unsigned word, unsigned factor, unsigned& upper, unsigned& lower) {
  upper = decoded(word, word >> 4, factor);
  lower = decoded(word << 8, word << 4, factor);
}
/// One of eight factors, twice.
__device__ __forceinline__ unsigned factorOf(const uint4& factors, int i) {
  const unsigned words[4] = {factors.x, factors.y, factors.z, factors.w};
  return __byte_perm(words[i >> 1], 0, i & 1 ? 0x3232 : 0x1010);
}
/// Among the consumer warps.
__device__ __forceinline__ void together() { asm volatile("bar.sync 1, 512;" ::: "memory"); }
/// Offset in words of row r's pair of columns (k, k + 1) in an operand of 16 × 16 fragments.
__device__ __forceinline__ int operandWord(int r, int k) {
  return (k >> 4) * 128 + ((r & 7) * 4 + ((k & 7) >> 1)) * 4 + ((k >> 3) & 1) * 2 + ((r >> 3) & 1);
}

template <int MT, bool kFloat8>
struct Expert {
  static constexpr int kRows = MT * 16;
  static constexpr int kShiftRow = kRows - 1;
  static constexpr int kParts = kWarps / MT;
  /// Chunks of weights a layer: of every block, and of gate|up and down.
  static constexpr int kBlockChunks = kFloat8 ? 10 : 16;
  static constexpr int kUpChunks = kFloat8 ? 4 : 8;
  static constexpr int kDownChunks = kFloat8 ? 2 : 4;
  static constexpr int kLayerChunks = kFloat8 ? kExpertFloat8LayerChunks : kExpertLayerChunks;

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
        static_cast<long long>(block * kBlockChunks + min(block, kExpertBlocks / 2)) * kExpertChunk;
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
      for (int i = 0; i < 2 + kUpChunks + kDownChunks; ++i) load(weights + (strips + i) * kExpertChunk);
      weights += static_cast<long long>(kLayerChunks) * kExpertChunk;
      cache += static_cast<long long>(p.cacheChunks) * kExpertChunk;
    }
  }

  /// A constant of `norm` for the thread's pair of this block's columns.
  __device__ float2 ownConstant(int norm, int which) const {
    return *reinterpret_cast<const float2*>(constants(norm, which) + block * 8 + (lane & 3) * 2);
  }

  /// Hands out this block's columns of row r times the next norm's factor, its shift as the last row, and the sum of the
  /// row's squares. Threads of one quad have the row's four pairs of columns.
  __device__ void handOut(int r, int q, float2 v, float2 factor, float2 shift);
  /// The root of the norm of each row, from all blocks' squares. Followed by `together`.
  __device__ void findRoots() const;
  /// Products of the handed out rows with N strips of eight columns, whose chunks begin at `first`, summed over the warps
  /// in a fixed order to sums[(m·N + t)·128 + element].
  template <int N>
  __device__ void strips(const uint4 (&x)[64 / kParts], int first, int count);
  /// The same with gate|up's strips `first` to `first` + 3 of 8-bit floats, two a chunk.
  __device__ void upStrips(const uint4 (&x)[64 / kParts], const uint4& factors, int first);
  /// Ends both: sums the warps' parts.
  template <int N>
  __device__ void addParts(const float (&c)[N][4]);
  /// The normed product of row r with column n of strip t.
  template <int N>
  __device__ float valueAt(int r, int t, int n) const;
  __device__ void loadNormed(uint4 (&x)[64 / kParts]) const;
  __device__ void queriesKeysValues(int length);
  /// Offset in words of key r's pair of dimensions (d, d + 1) in its chunk.
  __device__ static int keyWord(int r, int d);
  __device__ void attend(int length);
  /// A warp has a quarter of a head of a row.
  __device__ void combine();
  /// Adds the summed parts to this block's columns, gated, and hands them out for `norm`; for the last they are written
  /// out. The constants were loaded before the parts.
  __device__ void addToOwn(int sets, float2 gate, float2 factor, float2 shift, int norm);
  __device__ void outputProjection(int layer);
  __device__ void feedForward(int layer);
  __device__ void addDown(int layer);
  /// The first tokens' own columns.
  __device__ void embed();
  /// A block has one row: final norm, output projection in float32, the sampler's step.
  __device__ void finish();
  __device__ void run();
};
#endif

}  // namespace turbopi::kernels
