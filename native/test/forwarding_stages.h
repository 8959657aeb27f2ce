#pragma once

#include <memory>
#include <utility>

#include "pi05/stage.h"

namespace turbopi::pi05 {

/// Other stages as they are: what a check changes of them is overridden.
class ForwardingStages : public StageMaker {
 public:
  explicit ForwardingStages(std::unique_ptr<StageMaker> stages) : stages_(std::move(stages)) {}

  const ModelShape& shape() const override { return stages_->shape(); }
  size_t visionScratch() const override { return stages_->visionScratch(); }
  size_t prefixScratch() const override { return stages_->prefixScratch(); }
  size_t denoiseScratch() const override { return stages_->denoiseScratch(); }
  std::unique_ptr<Stage> vision(const VisionCall& call, const cuda::Stream& stream, Scratch scratch) override {
    return stages_->vision(call, stream, scratch);
  }
  std::unique_ptr<Stage> prefix(const PrefixCall& call, const cuda::Stream& stream, Scratch scratch) override {
    return stages_->prefix(call, stream, scratch);
  }
  std::unique_ptr<Stage> denoise(const DenoiseCall& call, const cuda::Stream& stream, Scratch scratch) override {
    return stages_->denoise(call, stream, scratch);
  }
  void copyRows(const cuda::Stream& stream, const kernels::RowCopies& copies, int count) override {
    stages_->copyRows(stream, copies, count);
  }
  bool modulates() const override { return stages_->modulates(); }
  int64_t modulationInput() const override { return stages_->modulationInput(); }
  void modulate(const cuda::Stream& stream, int rows, cuda::DevicePtr in, cuda::DevicePtr out, size_t stride) override {
    stages_->modulate(stream, rows, in, out, stride);
  }

 private:
  std::unique_ptr<StageMaker> stages_;
};

}  // namespace turbopi::pi05
