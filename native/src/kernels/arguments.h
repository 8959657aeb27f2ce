#pragma once

/// What the kernels take, shared by the host and the device: plain structs of addresses and sizes.
namespace turbopi::kernels {

#ifndef __CUDACC__
struct float2 {
  float x, y;
};
#endif

/// What a matrix product does with a sum s[m, n] before it writes.
enum class Epilogue : int {
  /// out[m, n] = s·scale + bias[n], in the element type.
  kStore,
  /// As kStore, through GELU (tanh form).
  kGelu,
  /// As kStore, in float32.
  kStoreFloat,
  /// As kStoreFloat, through swish.
  kSwish,
  /// residual[m, n] += (s + bias[n]) · gate[n], in float32; without a gate the factor is 1.
  kResidual,
};

/// Rows of actions that are given, not sampled: those whose factors of velocity and target are 0 take the constants of
/// time 0, which lie `offset` floats behind those of the step. Without factors there are none.
struct GivenRows {
  /// (x, velocity, target) of each row, or null.
  const float* factors;
  long long offset;
};

/// y = a·Wᵀ: a [m, k], w [n, k], both row-major with their own row strides.
struct Linear {
  const void* a;
  const void* w;
  /// [n], or null.
  const float* bias;
  /// [n], or null.
  const float* gate;
  /// [tableRows, n], added by output row modulo tableRows; or null.
  const float* table;
  void* out;
  int m, n, k;
  int aStride, wStride;
  float scale;
  Epilogue epilogue;
  int tableRows;
  /// Columns below it get 1 added: a factor (1 + s) is stored ready for use.
  int onePlus;
  GivenRows given;
  /// Row m is written to (m / group)·groupStride + groupOffset + m % group, of outStride elements.
  int group, groupStride, groupOffset, outStride;
};

/// Most parts that a norm adds.
constexpr int kMostPartials = 8;

/// x += gate ⊙ (Σ partials + bias); out = norm(x), row by row. Without partials x is only read.
struct Norm {
  float* x;
  /// float32 [partials, rows, width], or bf16 [rows, width] of one part alone; or null.
  const void* partial;
  int partials;
  const float* bias;
  const float* gate;
  /// out = x̂ ⊙ (scale + scaleOffset) + shift; shift may be null.
  const float* scale;
  const float* shift;
  float scaleOffset;
  /// Element type, or null when only x is wanted.
  void* out;
  /// Of 8-bit floats: one a row.
  float* scales;
  /// Width: a multiple of 4, at most 4096; a block has a thread for each four columns.
  int rows, width;
  float epsilon;
  /// 1: layer norm (mean and biased variance). 0: RMS norm.
  int centred;
  /// Of scale, shift and gate.
  GivenRows given;
};

/// Rotates queries and keys and puts keys and values where attention reads them.
struct Rope {
  /// [batch·rows, (heads + 2·kvHeads)·headDim].
  const void* qkv;
  /// [batch·rows, heads·headDim].
  void* q;
  /// [batch, kvHeads, rows, headDim].
  void* keys;
  void* values;
  /// Row r of batch b stands at lengths[b] + r, or at r when null.
  const long long* lengths;
  /// (cos, sin) [positions, headDim / 2].
  const float2* table;
  int batch, rows, heads, kvHeads, headDim;
};

/// Keys and values that queries attend to.
struct AttentionPart {
  const void* keys;
  const void* values;
  /// Elements from one batch row, head and key to the next.
  long long batchStride, headStride, rowStride;
  /// Valid keys of each batch row; null: all of `keyCount`.
  const long long* lengths;
  int keyCount;
};

/// softmax(scale · q·Kᵀ)·V over both parts together.
struct Attention {
  const void* q;
  long long qBatchStride, qHeadStride, qRowStride;
  AttentionPart parts[2];
  int partCount;
  /// [batch, rows, heads·headDim].
  void* out;
  int batch, rows, heads, kvHeads, headDim;
  float scale;
  /// 1: query 0 sees key 0 of the second part alone (pi0's state token).
  int stateRow;
};

/// u8 [images, size, size, 3] → u − 127.5 as patches [images·side², patchStride], channel, row, column; zeros behind.
struct Patches {
  const unsigned char* pixels;
  void* out;
  int images, imageSize, patch, patchStride;
};

/// x[b·P + p] = row source[b, p] of [image embeddings ‖ token embeddings · scale], in float32.
struct Gather {
  const void* embeddings;
  const void* table;
  const long long* tokens;
  const long long* source;
  float* x;
  long long imageRows;
  int rows, width;
  float scale;
};

/// The keys and values of one row on their way from one buffer to another. In each, a row of layer 0's keys is followed, a
/// stride of bytes behind, by that of its values, of layer 1's keys and so on; a row is [heads, places, headDim].
struct RowCopy {
  const void* from;
  void* to;
  long long fromStride, toStride;
  /// Where the row's length is to be written too, or null.
  long long* lengthTo;
  int fromPlaces, toPlaces;
  /// Valid places of the row; those behind them are filled with zeros.
  int length;
};

struct RowCopies {
  /// On the device.
  const RowCopy* rows;
  int heads;
  /// Bytes of one place of one head, a multiple of 16.
  int placeBytes;
};

/// out[r, j] = gelu(in[r, j]) · in[r, width + j].
struct Gated {
  const void* in;
  void* out;
  int rows, width;
};

/// next = x, velocity and target, each times its factor of the row (network §3.7); v [batch·suffix, actionDim] holds
/// `offset` rows of other tokens before each chunk.
struct Update {
  const float* x;
  const float* v;
  const float* target;
  /// [batch·horizon, (x, velocity, target)].
  const float* factors;
  float* next;
  float* velocity;
  int batch, horizon, actionDim, suffix, offset;
};

}  // namespace turbopi::kernels

namespace turbopi::kernels {

/// A tuned product out of tiles: s[m, n] = a[m, k]·w[n, k]ᵀ, both read through tensor maps.
struct Tiles {
  int m, n, k;
  /// Tiles along m and n, and the parts that k is cut into, `splitBlocks` blocks of 64 each.
  int mTiles, nTiles, splits, splitBlocks;
  /// kTilePartial: float32 [splits, m, n], or bf16 [m, n] of one part alone. Else the element type [m, n], or as the epilogue says.
  void* out;
  const float* bias;
  /// kTilePositions: [tableRows, n] and the factor of s.
  const float* table;
  int tableRows;
  float scale;
  /// kTileRope: queries, keys and values as in Rope.
  Rope rope;
  /// Of 8-bit floats: one a row of a, and one a row of w in the order in which they lie.
  const float* aScales;
  const float* wScales;
};

/// The tuned prefix and suffix attention: one shared key/value head of 256, bf16, keys in two parts.
struct SharedHeadAttention {
  void* out;
  const long long* lengths;
  /// Rows of queries a batch row: tokens × 8 heads; keys of each part a batch row.
  int batch, queries, keys0, keys1;
  /// Tiles of 64 keys of each part.
  int tiles0, tiles1;
  float scale;
  /// 1: token 0 sees key 0 of the second part alone.
  int stateRow;
};

/// The tuned vision attention: heads of 72, 256 tokens an image, q|k|v packed [tokens, 3·heads·72], bf16.
struct VisionAttention {
  const void* qkv;
  void* out;
  int images, heads;
  float scale;
};

}  // namespace turbopi::kernels

namespace turbopi::kernels {

/// Sizes of the persistent expert (expert_sm90.cuh): the released expert alone.
constexpr int kExpertBlocks = 128;
constexpr int kExpertWidth = 1024;
constexpr int kExpertMlp = 4096;
constexpr int kExpertHeads = 8;
constexpr int kExpertHeadDim = 256;
constexpr int kExpertChunk = 16384;
/// Weight chunks of one layer: 16 a block, and a seventeenth in the first half of the blocks.
constexpr int kExpertLayerChunks = kExpertBlocks * 16 + kExpertBlocks / 2;
/// With the MLP in 8-bit floats: 10 a block, and an eleventh in the first half.
constexpr int kExpertFloat8LayerChunks = kExpertBlocks * 10 + kExpertBlocks / 2;
/// Of the MLP's rows a layer, eight bf16 numbers each: [block, row % 8] of gate|up, then [warp, row % 8] of down.
constexpr int kExpertLayerScales = kExpertBlocks * 8 + 16 * 8;
constexpr int kExpertMostSplits = 16;
/// Tokens of a chunk of keys and values.
constexpr int kExpertCacheKeys = 16;

/// One denoise step as one kernel.
struct ExpertStep {
  /// [layers, kExpertLayerChunks] chunks, and [layers, cacheChunks] chunks of the prefix's keys and values.
  const void* weights;
  /// Of 8-bit floats: [layers, kExpertLayerScales], what a weight's decoded bits are multiplied by.
  const void* scales;
  const void* cache;
  /// [2·layers + 1, (factor, shift, gate), width].
  const float* modulation;
  const float2* rope;
  const long long* lengths;
  /// Tokens [rows, width] in float32, or null: they are made from x.
  const float* tokens;
  const float* x;
  const float* inWeight;
  const float* inBias;
  const float* outWeight;
  const float* outBias;
  const float* target;
  const float* factors;
  float* next;
  float* velocity;
  /// Exchange between blocks; zeros before the first step.
  void* normed;
  float* squares;
  void* queries;
  void* ownCache;
  float* mixedParts;
  float2* mixedSums;
  void* mixed;
  float* downParts;
  float* finalRows;
  unsigned* arrivals;
  int rows, firstAction, actionDim, layers;
  int cacheChunks, chunksPerSplit, prefixSplits, ownSplits;
  int stateRow;
  float epsilon;
};

}  // namespace turbopi::kernels
