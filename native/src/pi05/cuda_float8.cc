#include "pi05/cuda_float8.h"

#include "base/error.h"

namespace turbopi::pi05 {

using cuda::DevicePtr;

namespace {

cuda::LaunchShape blockARow(int64_t rows) {
  cuda::LaunchShape shape;
  shape.gridX = static_cast<unsigned>(rows);
  return shape;
}

}  // namespace

void requireFloat8(const cuda::DeviceInfo& device) {
  require(device.major > 8 || (device.major == 8 && device.minor >= 9),
          device.name + " has compute capability " + std::to_string(device.major) + "." + std::to_string(device.minor) +
              "; 8-bit floats need 8.9 or later",
          "use bf16");
}

void roundMlps(const CudaShared& s, const cuda::Stream& stream, const char* transformer, const Transformer& t,
               DevicePtr scales) {
  for (int l = 0; l < t.depth; ++l) {
    // Of the prefix's last layer nothing but keys and values is there.
    const std::string up = layerName(transformer, l, "gate_up");
    if (!s.weights->has(up)) continue;
    const auto round = [&](const std::string& name, int64_t rows, int width, int64_t at) {
      const DevicePtr own = scales ? scales + sizeof(float) * static_cast<size_t>(l * mlpRows(t) + at) : 0;
      s.kernels->launch(stream, "float8_round_rows", blockARow(rows), s.weight(name, rows * width), width, own);
    };
    round(up, int64_t{2} * t.mlp, t.width, 0);
    round(layerName(transformer, l, "down"), t.width, t.mlp, int64_t{2} * t.mlp);
  }
}

void roundVision(const CudaShared& s, const cuda::Stream& stream) {
  const Transformer& v = s.model.vision;
  for (int l = 0; l < v.depth; ++l)
    roundRows(s, stream, s.weight(layerName("vision", l, "fc1.weight"), int64_t{v.mlp} * v.width), v.mlp, v.width);
}

void roundRows(const CudaShared& s, const cuda::Stream& stream, DevicePtr rows, int64_t count, int width) {
  s.kernels->launch(stream, "float8_round_rows", blockARow(count), rows, width, DevicePtr{0});
}

void float8Rows(const CudaShared& s, const cuda::Stream& stream, DevicePtr rows, DevicePtr bytes, DevicePtr scales,
                int64_t count, int width) {
  s.kernels->launch(stream, "float8_rows", blockARow(count), rows, bytes, scales, width);
}

}  // namespace turbopi::pi05
