#include "pi05/cuda_operations.h"

#include <climits>

namespace turbopi::pi05 {
namespace {

unsigned blocksFor(int64_t threads, int64_t block) { return static_cast<unsigned>((threads + block - 1) / block); }

/// From here on the latency of a row of a norm does not count.
constexpr int kManyRows = 1024;

}  // namespace

Operations::Operations(std::shared_ptr<const cuda::Kernels> kernels, ElementType element)
    : kernels_(std::move(kernels)),
      suffix_(element == ElementType::kFloat32 ? "_f32" : "_bf16"),
      element_("linear" + suffix_),
      bytes_(bytesOf(element)) {}

void Operations::product(const cuda::Stream& stream, const std::string& name, const kernels::Linear& p) const {
  cuda::LaunchShape shape;
  shape.gridX = blocksFor(p.n, 64);
  shape.gridY = blocksFor(p.m, 64);
  kernels_->launch(stream, name.c_str(), shape, p);
}

void Operations::linearWide(const cuda::Stream& stream, const kernels::Linear& p) const {
  product(stream, bytes_ == 4 ? "linear_f32" : "linear_wide_bf16", p);
}

void Operations::linearThin(const cuda::Stream& stream, const kernels::Linear& p) const {
  cuda::LaunchShape shape;
  shape.gridX = blocksFor(int64_t{p.m} * p.n, 8);
  kernels_->launch(stream, "linear_thin", shape, p);
}

void Operations::norm(const cuda::Stream& stream, const kernels::Norm& p) const {
  norm(stream, p, suffix_);
}

void Operations::normWide(const cuda::Stream& stream, const kernels::Norm& p) const { norm(stream, p, "_f32"); }

void Operations::normFloat8(const cuda::Stream& stream, const kernels::Norm& p) const { norm(stream, p, "_float8"); }

void Operations::norm(const cuda::Stream& stream, const kernels::Norm& p, const std::string& suffix) const {
  cuda::LaunchShape shape;
  shape.gridX = static_cast<unsigned>(p.rows);
  shape.block = blocksFor(p.width, 128) * 32;
  if (p.partials > 1) shape.sharedBytes = static_cast<size_t>(p.partials) * shape.block * 16;
  const bool many = p.rows >= kManyRows && p.partials <= 1 && suffix != "_f32";
  kernels_->launch(stream, ((many ? "norm_many" : "norm") + suffix).c_str(), shape, p);
}

void Operations::rope(const cuda::Stream& stream, const kernels::Rope& p) const {
  cuda::LaunchShape shape;
  shape.gridX = blocksFor(int64_t{p.batch} * p.rows * (p.heads + 2 * p.kvHeads) * (p.headDim / 2), 256);
  kernels_->launch(stream, ("rope" + suffix_).c_str(), shape, p);
}

void Operations::attention(const cuda::Stream& stream, const kernels::Attention& p) const {
  cuda::LaunchShape shape;
  shape.gridX = static_cast<unsigned>(p.rows);
  shape.gridY = static_cast<unsigned>(p.heads);
  shape.gridZ = static_cast<unsigned>(p.batch);
  shape.block = 128;
  int64_t keys = 0;
  for (int part = 0; part < p.partCount; ++part) keys += p.parts[part].keyCount;
  shape.sharedBytes = sizeof(float) * static_cast<size_t>(keys + p.headDim);
  kernels_->launch(stream, ("attention" + suffix_).c_str(), shape, p);
}

void Operations::patches(const cuda::Stream& stream, const kernels::Patches& p) const {
  cuda::LaunchShape shape;
  const int64_t side = p.imageSize / p.patch;
  shape.gridX = blocksFor(int64_t{p.images} * side * side * p.patchStride, 256);
  kernels_->launch(stream, ("patches" + suffix_).c_str(), shape, p);
}

void Operations::gather(const cuda::Stream& stream, const kernels::Gather& p) const {
  cuda::LaunchShape shape;
  shape.gridX = static_cast<unsigned>(p.rows);
  kernels_->launch(stream, ("gather" + suffix_).c_str(), shape, p);
}

void Operations::copyRows(const cuda::Stream& stream, const kernels::RowCopies& p, int count, int64_t matrices) const {
  cuda::LaunchShape shape;
  // Enough blocks for one row alone to fill a card; some ten loads a thread.
  shape.gridX = 8;
  shape.gridY = static_cast<unsigned>(count);
  shape.gridZ = static_cast<unsigned>(matrices);
  kernels_->launch(stream, kCopyRows, shape, p);
}

void Operations::gated(const cuda::Stream& stream, const kernels::Gated& p) const {
  cuda::LaunchShape shape;
  shape.gridX = blocksFor(int64_t{p.rows} * p.width, 256);
  kernels_->launch(stream, ("gated" + suffix_).c_str(), shape, p);
}

void Operations::update(const cuda::Stream& stream, const kernels::Update& p) const {
  cuda::LaunchShape shape;
  shape.gridX = blocksFor(int64_t{p.batch} * p.horizon * p.actionDim, 256);
  kernels_->launch(stream, "update_actions", shape, p);
}

kernels::Linear product(cuda::DevicePtr a, cuda::DevicePtr w, cuda::DevicePtr out, int64_t m, int64_t n, int64_t k,
                        kernels::Epilogue epilogue, cuda::DevicePtr bias) {
  kernels::Linear p = {};
  p.a = pointer(a);
  p.w = pointer(w);
  p.bias = pointer<float>(bias);
  p.out = pointer(out);
  p.m = static_cast<int>(m);
  p.n = static_cast<int>(n);
  p.k = static_cast<int>(k);
  p.aStride = p.wStride = static_cast<int>(k);
  p.outStride = static_cast<int>(n);
  p.scale = 1;
  p.epilogue = epilogue;
  p.tableRows = 1;
  p.group = INT_MAX;
  return p;
}

}  // namespace turbopi::pi05
