#include "common.cuh"

using namespace turbopi::kernels;

/// Rows of keys and values from wherever they lie to wherever they are wanted, 16 bytes at a time: a block row (y) for each
/// row, a block layer (z) for each matrix, with all x blocks of it side by side. Zeros behind a row's valid places, so that
/// nothing of what lay there before is ever read.
extern "C" __global__ void copy_rows(const RowCopies p) {
  letLaterStart();
  awaitEarlier();
  const RowCopy row = p.rows[blockIdx.y];
  const long long matrix = blockIdx.z;
  const int words = p.placeBytes / 16;
  const int valid = row.length * words;
  const int fromHead = row.fromPlaces * words;
  const int toHead = row.toPlaces * words;
  const auto* from = reinterpret_cast<const uint4*>(static_cast<const char*>(row.from) + matrix * row.fromStride);
  auto* to = reinterpret_cast<uint4*>(static_cast<char*>(row.to) + matrix * row.toStride);
#pragma unroll 4
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < p.heads * toHead; i += gridDim.x * blockDim.x) {
    const int at = i % toHead;
    to[i] = at < valid ? from[i / toHead * fromHead + at] : make_uint4(0, 0, 0, 0);
  }
  if (row.lengthTo && matrix == 0 && blockIdx.x == 0 && threadIdx.x == 0) *row.lengthTo = row.length;
}
