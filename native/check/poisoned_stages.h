#pragma once

#include <utility>
#include <vector>

#include "test/forwarding_stages.h"

namespace turbopi::check {

/// Stages whose workspace, and whatever else they are to write themselves, is full of NaN before each of them runs.
class PoisonedStages final : public pi05::ForwardingStages {
 public:
  using ForwardingStages::ForwardingStages;

  std::unique_ptr<pi05::Stage> vision(const pi05::VisionCall& call, const cuda::Stream& stream,
                                      pi05::Scratch scratch) override {
    const size_t embeddings = static_cast<size_t>(call.images * shape().imageTokens * shape().width);
    return poisoned(ForwardingStages::vision(call, stream, scratch),
                    {{scratch.address, scratch.bytes}, {call.embeddings, embeddings * bytesOf(shape().element)}});
  }
  std::unique_ptr<pi05::Stage> prefix(const pi05::PrefixCall& call, const cuda::Stream& stream,
                                      pi05::Scratch scratch) override {
    Places places = {{scratch.address, scratch.bytes}};
    const size_t cache =
        static_cast<size_t>(shape().cacheElements(call.batch, call.prefixLength)) * bytesOf(shape().element);
    for (const auto* all : {&call.keys, &call.values})
      for (const cuda::DevicePtr one : *all) places.emplace_back(one, cache);
    return poisoned(ForwardingStages::prefix(call, stream, scratch), std::move(places));
  }
  std::unique_ptr<pi05::Stage> denoise(const pi05::DenoiseCall& call, const cuda::Stream& stream,
                                       pi05::Scratch scratch) override {
    const size_t floats = static_cast<size_t>(shape().actionFloats(call.batch)) * sizeof(float);
    return poisoned(ForwardingStages::denoise(call, stream, scratch),
                    {{scratch.address, scratch.bytes}, {call.velocity, floats}});
  }

 private:
  using Places = std::vector<std::pair<cuda::DevicePtr, size_t>>;

  class Poisoned final : public pi05::Stage {
   public:
    Poisoned(std::unique_ptr<pi05::Stage> stage, Places places) : stage_(std::move(stage)), places_(std::move(places)) {}
    void enqueue(const cuda::Stream& stream, int step) override {
      const cuda::Driver& driver = *stream.driver();
      for (const auto& [address, bytes] : places_)
        driver.check(driver.memsetD8Async(address, 0xff, bytes, stream.raw()), "cuMemsetD8Async");
      stage_->enqueue(stream, step);
    }

   private:
    std::unique_ptr<pi05::Stage> stage_;
    Places places_;
  };

  static std::unique_ptr<pi05::Stage> poisoned(std::unique_ptr<pi05::Stage> stage, Places places) {
    return std::make_unique<Poisoned>(std::move(stage), std::move(places));
  }
};

}  // namespace turbopi::check
