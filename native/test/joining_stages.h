#pragma once

#include <cstring>
#include <memory>
#include <utility>

#include "fake/fake_cuda.h"
#include "forwarding_stages.h"
#include "toy_gpu.h"

/// The toy's engines, with rows copied as kernels/copy_rows.cu copies them: by the host, in the stream, from the table as it
/// is when the work runs.
namespace turbopi::toy {

class JoiningStages final : public pi05::ForwardingStages {
 public:
  explicit JoiningStages(std::unique_ptr<pi05::StageMaker> stages)
      : ForwardingStages(std::move(stages)), shape_(ForwardingStages::shape()) {
    shape_.joins = true;
  }
  const pi05::ModelShape& shape() const override { return shape_; }
  void copyRows(const cuda::Stream& stream, const kernels::RowCopies& copies, int count) override {
    auto* work = new Copy{copies, count, 2 * shape_.layers};
    stream.driver()->check(
        fakeCudaKernel(
            stream.raw(), "copy_rows", [](void* data) { static_cast<Copy*>(data)->run(); },
            [](void* data) { delete static_cast<Copy*>(data); }, work),
        "copy_rows");
  }

 private:
  struct Copy {
    kernels::RowCopies call;
    int count;
    int64_t matrices;

    void run() const {
      for (int i = 0; i < count; ++i) {
        const kernels::RowCopy& row = call.rows[i];
        for (int64_t matrix = 0; matrix < matrices; ++matrix)
          for (int head = 0; head < call.heads; ++head) {
            const auto* from = static_cast<const char*>(row.from) + matrix * row.fromStride +
                               int64_t{head} * row.fromPlaces * call.placeBytes;
            auto* to =
                static_cast<char*>(row.to) + matrix * row.toStride + int64_t{head} * row.toPlaces * call.placeBytes;
            const auto valid = static_cast<size_t>(row.length * call.placeBytes);
            std::memcpy(to, from, valid);
            std::memset(to + valid, 0, static_cast<size_t>(row.toPlaces * call.placeBytes) - valid);
          }
        if (row.lengthTo != nullptr) *row.lengthTo = row.length;
      }
    }
  };

  pi05::ModelShape shape_;
};

inline exec::OpenSession openJoining(const pi05::SessionOptions& options, int card = 0) {
  exec::OpenSession gpu;
  gpu.driver = cuda::Driver::load();
  gpu.context = std::make_unique<cuda::Context>(gpu.driver, card);
  gpu.context->makeCurrent();
  gpu.session = std::make_unique<pi05::Session>(gpu.driver, std::make_unique<JoiningStages>(plans().engines()), options);
  return gpu;
}

}  // namespace turbopi::toy
