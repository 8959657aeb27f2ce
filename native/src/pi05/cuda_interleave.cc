#include "pi05/cuda_interleave.h"

#include <algorithm>

#include "pi05/cuda_tuned_vision.h"

namespace turbopi::pi05 {
namespace {

using cuda::DevicePtr;

/// Row orders of kernels/interleave.cu.
enum class Interleave : int { kPlain, kGated, kRope };

/// Puts the rows of a matrix [rows, columns] into `kind` order, in place.
void interleave(const CudaShared& s, const cuda::Stream& stream, const cuda::DeviceBuffer& spare,
                const std::string& name, int64_t rows, int64_t columns, Interleave kind, int rotatedRows = 0) {
  const DevicePtr weight = s.weight(name, rows * columns);
  cuda::LaunchShape shape;
  shape.gridX = static_cast<unsigned>(rows);
  s.kernels->launch(stream, "interleave_bf16", shape, weight, spare.address(), static_cast<int>(rows),
                    static_cast<int>(columns), static_cast<int>(columns), static_cast<int>(kind),
                    s.model.prefix.headDim, rotatedRows);
  stream.copy(weight, spare.address(), static_cast<size_t>(rows * columns) * 2);
}

/// A matrix [rows, columns] as 8-bit floats, rows in `kind` order; in its own memory, the scales behind the bytes.
void interleaveFloat8(const CudaShared& s, const cuda::Stream& stream, const cuda::DeviceBuffer& spare,
                      const std::string& name, int64_t rows, int64_t columns, Interleave kind) {
  const DevicePtr weight = s.weight(name, rows * columns);
  const auto bytes = static_cast<size_t>(rows * columns);
  cuda::LaunchShape shape;
  shape.gridX = static_cast<unsigned>(rows);
  s.kernels->launch(stream, "interleave_float8", shape, weight, spare.address(), spare.address() + bytes,
                    static_cast<int>(rows), static_cast<int>(columns), static_cast<int>(kind));
  stream.copy(weight, spare.address(), bytes + static_cast<size_t>(rows) * sizeof(float));
}

void interleaveGemma(const CudaShared& s, const cuda::Stream& stream, const cuda::DeviceBuffer& spare,
                     const char* transformer, const Transformer& t, bool lastIsKeysAndValues, bool float8) {
  for (int l = 0; l < t.depth; ++l) {
    const auto name = [&](const char* tensor) { return layerName(transformer, l, tensor); };
    const bool short_ = lastIsKeysAndValues && l == t.depth - 1;
    const int rotated = (short_ ? t.kvHeads : t.heads + t.kvHeads) * t.headDim;
    interleave(s, stream, spare, name("qkv"), packedRows(t, short_), t.width, Interleave::kRope, rotated);
    if (short_) continue;
    interleave(s, stream, spare, name("o"), t.width, int64_t{t.heads} * t.headDim, Interleave::kPlain);
    if (float8) {
      interleaveFloat8(s, stream, spare, name("gate_up"), int64_t{2} * t.mlp, t.width, Interleave::kGated);
      interleaveFloat8(s, stream, spare, name("down"), t.width, t.mlp, Interleave::kPlain);
      continue;
    }
    interleave(s, stream, spare, name("gate_up"), int64_t{2} * t.mlp, t.width, Interleave::kGated);
    interleave(s, stream, spare, name("down"), t.width, t.mlp, Interleave::kPlain);
  }
}

}  // namespace

void interleaveWeights(const CudaShared& s, const cuda::Stream& stream, DevicePtr patch) {
  const CudaModel& m = s.model;
  const Transformer& v = m.vision;
  const int64_t largest = std::max({int64_t{v.width} * v.mlp, int64_t{3} * v.width * v.width,
                                    int64_t{2} * m.prefix.mlp * m.prefix.width, int64_t{2} * m.expert.mlp * m.expert.width,
                                    packedRows(m.prefix, false) * m.prefix.width, int64_t{m.prefix.width} * v.width});
  const cuda::DeviceBuffer spare(s.kernels->driver(), static_cast<size_t>(largest) * 2);
  cuda::LaunchShape shape;
  shape.gridX = static_cast<unsigned>(v.width);
  s.kernels->launch(stream, "interleave_bf16", shape, s.weight("vision.patch.weight", int64_t{v.width} * m.patchValues()),
                    patch, v.width, m.patchValues(), static_cast<int>(patchStride(m)),
                    static_cast<int>(Interleave::kPlain), 0, 0);
  for (int l = 0; l < v.depth; ++l) {
    const auto name = [&](const char* tensor) { return layerName("vision", l, tensor) + ".weight"; };
    interleave(s, stream, spare, name("qkv"), 3 * v.width, v.width, Interleave::kPlain);
    interleave(s, stream, spare, name("o"), v.width, v.width, Interleave::kPlain);
    if (v.float8) interleaveFloat8(s, stream, spare, name("fc1"), v.mlp, v.width, Interleave::kPlain);
    else interleave(s, stream, spare, name("fc1"), v.mlp, v.width, Interleave::kPlain);
    interleave(s, stream, spare, name("fc2"), v.width, v.mlp, Interleave::kPlain);
  }
  interleave(s, stream, spare, "vision.projector.weight", m.prefix.width, v.width, Interleave::kPlain);
  interleaveGemma(s, stream, spare, "prefix", m.prefix, true, m.prefix.float8);
  // A batch of the expert multiplies by what the 8-bit floats hold, in bf16.
  interleaveGemma(s, stream, spare, "expert", m.expert, false, false);
  stream.synchronize();
}

}  // namespace turbopi::pi05
