#pragma once

#include <memory>

#include "pi05/cuda_shared.h"
#include "pi05/stage.h"

namespace turbopi::pi05 {

/// Scratch memory of each stage, for the largest call.
struct StageBytes {
  size_t vision = 0;
  size_t prefix = 0;
  size_t denoise = 0;
};
StageBytes referenceBytes(const CudaModel& model);

/// Stages of any size from the reference kernels: right on every card, tuned for none.
class CudaReference : public StageMaker {
 public:
  explicit CudaReference(std::shared_ptr<const CudaShared> shared) : shared_(std::move(shared)) {}

  const ModelShape& shape() const override { return shared_->shape; }
  size_t visionScratch() const override;
  size_t prefixScratch() const override;
  size_t denoiseScratch() const override;
  std::unique_ptr<Stage> vision(const VisionCall& call, const cuda::Stream& stream, Scratch scratch) override;
  std::unique_ptr<Stage> prefix(const PrefixCall& call, const cuda::Stream& stream, Scratch scratch) override;
  std::unique_ptr<Stage> denoise(const DenoiseCall& call, const cuda::Stream& stream, Scratch scratch) override;
  void copyRows(const cuda::Stream& stream, const kernels::RowCopies& copies, int count) override {
    shared_->operations.copyRows(stream, copies, count, 2 * shared_->shape.layers);
  }
  bool modulates() const override { return true; }
  int64_t modulationInput() const override { return shared_->model.expert.width; }
  void modulate(const cuda::Stream& stream, int steps, cuda::DevicePtr input, cuda::DevicePtr rows,
                size_t stride) override;

 protected:
  std::shared_ptr<const CudaShared> shared_;
};

}  // namespace turbopi::pi05
