#include "float8.cuh"

/// The row order in which the tuned products want a weight matrix, so that what one thread sums lies together in the
/// output. Within sixteen rows (or thirty-two, for pairs) row 8·j + 2·q + e holds output 4·q + 2·j + e: thread q of four
/// gets outputs 4·q … 4·q + 3. Done once, when a model is opened.
namespace turbopi::kernels {

enum InterleaveKind { kInterleavePlain, kInterleaveGated, kInterleaveRope };

/// The row of the checkpoint's order that stands at row p.
__device__ __forceinline__ int interleavedRow(int kind, int p, int rows, int headDim, int rotatedRows) {
  const int j = p % 32 / 8;
  const int inner = p % 8 / 2 * 4 + p % 2;
  if (kind == kInterleaveGated) {
    const int column = p / 32 * 16 + inner + (j & 1) * 2;
    return j < 2 ? column : rows / 2 + column;
  }
  if (kind == kInterleaveRope && p < rotatedRows) {
    const int head = p / headDim * headDim;
    return head + p % headDim / 32 * 16 + inner + (j & 1) * 2 + (j < 2 ? 0 : headDim / 2);
  }
  return p / 16 * 16 + inner + (j & 1) * 2;
}

}  // namespace turbopi::kernels

using namespace turbopi::kernels;

/// to [rows, toStride] = rows of from [rows, columns] in the order of `kind`, zeros behind the columns. Rows of q and k
/// are below `rotatedRows`.
extern "C" __global__ void interleave_bf16(const bf16* from, bf16* to, int rows, int columns, int toStride, int kind,
                                           int headDim, int rotatedRows) {
  awaitEarlier();
  const int p = blockIdx.x;
  const bf16* source =
      from + static_cast<long long>(interleavedRow(kind, p, rows, headDim, rotatedRows)) * columns;
  for (int i = threadIdx.x; i < toStride; i += blockDim.x)
    to[static_cast<long long>(p) * toStride + i] = i < columns ? source[i] : narrow<bf16>(0.0f);
}

/// The same to 8-bit floats, rows of `columns` bytes, and the scale of each.
extern "C" __global__ void __launch_bounds__(256)
    interleave_float8(const bf16* from, unsigned char* to, float* scales, int rows, int columns, int kind) {
  awaitEarlier();
  const int p = blockIdx.x;
  const bf16* source = from + static_cast<long long>(interleavedRow(kind, p, rows, 0, 0)) * columns;
  const float scale = storeFloat8(source, to + static_cast<long long>(p) * columns, columns);
  if (threadIdx.x == 0) scales[p] = scale;
}
