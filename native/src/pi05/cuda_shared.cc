#include "pi05/cuda_shared.h"

#include <cmath>

#include "base/error.h"

namespace turbopi::pi05 {

using cuda::DevicePtr;

std::string layerName(const char* transformer, int layer, const char* tensor) {
  return std::string(transformer) + "." + std::to_string(layer) + "." + tensor;
}

ModelShape cudaShape(const CudaModel& m) {
  ModelShape shape;
  shape.imageSize = m.imageSize;
  shape.imageTokens = m.imageTokens();
  shape.width = m.prefix.width;
  shape.layers = m.prefix.depth;
  shape.kvHeads = m.prefix.kvHeads;
  shape.headDim = m.prefix.headDim;
  shape.horizon = m.horizon;
  shape.actionDim = m.actionDim;
  shape.modulation = m.pi05 ? int64_t{3} * m.expert.width * m.norms() : m.expert.width;
  shape.state = !m.pi05;
  shape.given = m.given;
  shape.element = m.element;
  // Rows are copied 16 bytes at a time.
  shape.joins = static_cast<size_t>(m.prefix.headDim) * bytesOf(m.element) % 16 == 0;
  shape.maxBatch = m.maxBatch;
  shape.maxImages = m.maxImages;
  shape.maxPrefix = m.maxPrefix;
  shape.tokenBuckets = m.tokenBuckets;
  return shape;
}

size_t ropeBytes(const CudaModel& m) {
  return sizeof(kernels::float2) * static_cast<size_t>(m.maxPrefix + m.suffix()) *
         static_cast<size_t>(m.prefix.headDim / 2);
}

CudaShared::CudaShared(std::shared_ptr<const cuda::Kernels> loaded, CudaModel sizes,
                       std::shared_ptr<const CudaWeights> tensors)
    : model(std::move(sizes)),
      shape(cudaShape(model)),
      kernels(std::move(loaded)),
      weights(std::move(tensors)),
      operations(kernels, model.element),
      rope(kernels->driver(), ropeBytes(model)) {
  shape.joins = shape.joins && kernels->has(kCopyRows);
  for (const Transformer* t : {&model.vision, &model.prefix, &model.expert})
    require(t->width % 4 == 0 && t->width <= 4096,
            "the CUDA kernels take widths up to 4096 that are multiples of 4, not " + std::to_string(t->width));
  const int half = model.prefix.headDim / 2;
  const int positions = model.maxPrefix + model.suffix();
  const cuda::PinnedBuffer frequencies(kernels->driver(), sizeof(float) * static_cast<size_t>(half));
  for (int i = 0; i < half; ++i)
    frequencies.as<float>()[i] = static_cast<float>(std::pow(model.ropeTheta, -2.0 * i / model.prefix.headDim));
  const cuda::DeviceBuffer device(kernels->driver(), frequencies.bytes());
  const cuda::Stream stream(kernels->driver(), cuda::Stream::Priority::kNormal);
  stream.upload(device.address(), frequencies.as<char>(), frequencies.bytes());
  cuda::LaunchShape shape;
  shape.gridX = static_cast<unsigned>((positions * half + 255) / 256);
  kernels->launch(stream, "rope_table", shape, device.address(), rope.address(), positions, half);
  stream.synchronize();
}

kernels::Norm normOf(DevicePtr x, DevicePtr out, int64_t rows, const Transformer& t, float epsilon, DevicePtr scale) {
  kernels::Norm p = {};
  p.x = pointer<float>(x);
  p.scale = pointer<float>(scale);
  p.out = pointer(out);
  p.rows = static_cast<int>(rows);
  p.width = t.width;
  p.epsilon = epsilon;
  return p;
}

}  // namespace turbopi::pi05
