#include "float8.cuh"

/// What the denoise kernel reads, in its order.
namespace turbopi::kernels {

/// Word w of a fragment-ordered strip of eight rows of a matrix: rows `row` + lane / 4, columns from k.
__device__ __forceinline__ uint4 stripPiece(const bf16* row, int k, int quad) {
  const unsigned* at = reinterpret_cast<const unsigned*>(row + k + quad * 2);
  return make_uint4(at[0], at[4], at[8], at[12]);
}

/// Piece i of a block's chunk c of q|k|v or of the output projection.
__device__ __forceinline__ uint4 attentionPiece(const bf16* qkv, const bf16* o, int block, int c, int strips, int i) {
  const int j = i >> 5;
  const int n = (i & 31) >> 2;
  const int quad = i & 3;
  if (c >= strips)
    return stripPiece(o + static_cast<long long>(block * 8 + n) * 2048 + (c - strips) * 1024, j * 32, quad);
  const int strip = block + c * kExpertBlocks;
  const int head = strip >> 5;
  const int row = head <= kExpertHeads ? head * 256 + (strip & 31) * 4 + (n & 3) + (n >> 2) * 128 : strip * 8 + n;
  return stripPiece(qkv + static_cast<long long>(row) * kExpertWidth, j * 32, quad);
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
    if (c < strips + 2) {
      v = attentionPiece(qkv, o, block, c, strips, i);
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

/// The bytes of the four weights (k, k + 1) and (k + 8, k + 9) of a row, as decodeWord takes them.
__device__ __forceinline__ unsigned float8Piece(const bf16* row, int k, float factor) {
  const float a = wide(row[k]) * factor, b = wide(row[k + 1]) * factor;
  const float c = wide(row[k + 8]) * factor, d = wide(row[k + 9]) * factor;
  return float8Bytes(c, a, d, b);
}

/// As packExpert, the MLP's weights in 8-bit floats: those of gate|up 64 along k a 512 bytes of eight rows, two strips a
/// chunk, those of down 32 of sixteen rows. `upScales` and `downScales` are those of the rows.
__device__ __forceinline__ void packExpertFloat8(const bf16* qkv, const bf16* o, const bf16* gateUp, const bf16* down,
                                                 const float* upScales, const float* downScales, uint4* out) {
  const int piece = blockIdx.x;
  const int half = kExpertBlocks / 2;
  const int block = piece < half * 11 ? piece / 11 : half + (piece - half * 11) / 10;
  const int strips = block < half ? 3 : 2;
  const int c = piece - block * 10 - min(block, half);
  for (int i = threadIdx.x; i < 1024; i += blockDim.x) {
    const int lane = i & 31;
    const int j = i >> 5;
    const int n = lane >> 2;
    const int quad = lane & 3;
    uint4 v;
    if (c < strips + 2) {
      v = attentionPiece(qkv, o, block, c, strips, i);
    } else if (c < strips + 6) {
      const int g = (c - strips - 2) * 2 + (j >> 4);
      const int row = (g & 1) * kExpertMlp + (block * 4 + g / 2) * 8 + n;
      const bf16* from = gateUp + static_cast<long long>(row) * kExpertWidth + (j & 15) * 64 + quad * 2;
      const float factor = 1.0f / upScales[row];
      v = make_uint4(float8Piece(from, 0, factor), float8Piece(from, 16, factor), float8Piece(from, 32, factor),
                     float8Piece(from, 48, factor));
    } else {
      const int row = ((c - strips - 6) * 64 + j * 2) * 8 + n;
      const bf16* from = down + static_cast<long long>(row) * kExpertMlp + block * 32 + quad * 2;
      const float first = 1.0f / downScales[row], second = 1.0f / downScales[row + 8];
      const bf16* next = from + 8 * kExpertMlp;
      v = make_uint4(float8Piece(from, 0, first), float8Piece(from, 16, first), float8Piece(next, 0, second),
                     float8Piece(next, 16, second));
    }
    out[static_cast<long long>(piece) * 1024 + i] = v;
  }
}

/// What decoded bits are multiplied by: the row's scale and the 2^120 that they lack. A thread one number.
__device__ __forceinline__ void packExpertScales(const float* upScales, const float* downScales, bf16* out) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= kExpertLayerScales * 8) return;
  const int n = i >> 3 & 7;
  const int e = i & 7;
  const int group = i >> 6;
  const float scale = group < kExpertBlocks ? upScales[(e & 1) * kExpertMlp + (group * 4 + e / 2) * 8 + n]
                                            : downScales[((group - kExpertBlocks) * 8 + e) * 8 + n];
  out[i] = narrow<bf16>(scale * 1.329227995784916e+36f);
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

extern "C" __global__ void expert_pack(const bf16* qkv, const bf16* o, const bf16* gateUp, const bf16* down, uint4* out) {
  awaitEarlier();
  packExpert(qkv, o, gateUp, down, out);
}
extern "C" __global__ void expert_pack_float8(const bf16* qkv, const bf16* o, const bf16* gateUp, const bf16* down,
                                              const float* upScales, const float* downScales, uint4* out) {
  awaitEarlier();
  packExpertFloat8(qkv, o, gateUp, down, upScales, downScales, out);
}
extern "C" __global__ void expert_pack_scales(const float* upScales, const float* downScales, bf16* out) {
  awaitEarlier();
  packExpertScales(upScales, downScales, out);
}
extern "C" __global__ void expert_cache(const bf16* keys, const bf16* values, const long long* lengths, uint4* out) {
  letLaterStart();
  awaitEarlier();
  packCache(keys, values, lengths, out);
}
extern "C" __global__ void expert_plain_constants(const float* weight, float* out) {
  awaitEarlier();
  plainConstants(weight, out);
}
