#pragma once

#include <future>
#include <memory>
#include <string>

#include "base/error.h"
#include "check/kernel_stages.h"
#include "check/report.h"
#include "exec/gpu_thread.h"
#include "toy_frame.h"

namespace turbopi::check {

struct Options {
  std::string kernels;
  /// Few frames and no timing, for runs under compute-sanitizer.
  bool quick = false;
};

/// A GPU thread over stand-in stages.
class StandIn {
 public:
  StandIn(const cuda::DriverPtr& driver, const std::string& ptx, int lanes, int slots, const Load& load,
          unsigned stamps = 0) {
    std::promise<std::string> opened;
    gpu_ = std::make_unique<exec::GpuThread>(
        [=] {
          exec::OpenSession gpu;
          gpu.context = std::make_unique<cuda::Context>(driver, 0);
          gpu.context->makeCurrent();
          if (stamps > 0) {
            ring_ = std::make_shared<StampRing>(driver, stamps);
            const cuda::Stream stream(driver, cuda::Stream::Priority::kNormal);
            stream.clear(ring_->counter.address(), ring_->counter.bytes());
            stream.synchronize();
          }
          gpu.session = std::make_unique<pi05::Session>(
              driver, kernelStages(std::make_shared<const Kernels>(driver, ptx), load, ring_),
              pi05::SessionOptions{lanes, slots});
          return gpu;
        },
        [&](const pi05::ModelShape*, const std::string& reason, const std::string&) { opened.set_value(reason); });
    const std::string reason = opened.get_future().get();
    require(reason.empty(), reason);
  }

  std::future<exec::Outcome> submit(exec::Work work) {
    auto promise = std::make_shared<std::promise<exec::Outcome>>();
    std::future<exec::Outcome> future = promise->get_future();
    gpu_->submit(std::move(work), [promise](exec::Outcome&& outcome) { promise->set_value(std::move(outcome)); });
    return future;
  }

  void setModulation(int steps) { done(submit(exec::ModulationJob{steps, toy::modulation(standInShape(), steps)})); }

  /// The outcome, or Error with its reason.
  static exec::Outcome done(std::future<exec::Outcome> future) {
    exec::Outcome outcome = future.get();
    require(outcome.status == exec::Outcome::Status::kDone, "a job failed: " + outcome.reason);
    return outcome;
  }

  /// Copies the stamps out; the GPU must be idle, and the caller's context current.
  std::vector<uint64_t> stamps(const cuda::DriverPtr& driver) const {
    std::vector<uint64_t> out(ring_->capacity);
    unsigned count = 0;
    const cuda::Stream stream(driver, cuda::Stream::Priority::kNormal);
    const cuda::PinnedBuffer staging(driver, out.size() * sizeof(uint64_t));
    const cuda::PinnedBuffer counter(driver, sizeof count);
    stream.download(staging.as<char>(), ring_->memory.address(), staging.bytes());
    stream.download(counter.as<char>(), ring_->counter.address(), counter.bytes());
    stream.synchronize();
    count = *counter.as<unsigned>();
    require(count <= ring_->capacity, "more stamps than the ring holds");
    std::copy(staging.as<uint64_t>(), staging.as<uint64_t>() + count, out.begin());
    out.resize(count);
    return out;
  }

 private:
  // The ring's memory goes with the session's context, so the thread ends first.
  std::shared_ptr<StampRing> ring_;
  std::unique_ptr<exec::GpuThread> gpu_;
};

/// Frame `number`: two pictures and 50 tokens a row.
inline pi05::PerceiveInput standInFrame(int number, int64_t batch = 1) {
  return toy::frame(standInShape(), number, batch, 2, 50, 64);
}

void checkPrimitives(Report& report, const cuda::DriverPtr& driver, const Options& options);
void checkPipeline(Report& report, const cuda::DriverPtr& driver, const Options& options);
void measurePipeline(Report& report, const cuda::DriverPtr& driver, const Options& options);
void measureCeilings(Report& report, const cuda::DriverPtr& driver, const Options& options);

}  // namespace turbopi::check
