#pragma once

#include <functional>

#include "cuda/stream.h"

namespace turbopi::cuda {

/// A stretch of stream work recorded once and replayed with one launch. Addresses and shapes are fixed at capture.
class GraphExec {
 public:
  /// Captures what `enqueue` puts into the stream; nothing of it runs. Throws what `enqueue` throws, and Error when
  /// the work can not be captured; the stream is usable again in both cases.
  static GraphExec capture(const Stream& stream, const std::function<void()>& enqueue) {
    const DriverPtr& driver = stream.driver();
    driver->check(driver->streamBeginCapture(stream.raw(), kCaptureThreadLocal), "cuStreamBeginCapture");
    Template graph(driver);
    try {
      enqueue();
    } catch (...) {
      driver->release(driver->streamEndCapture(stream.raw(), &graph.raw));
      throw;
    }
    driver->check(driver->streamEndCapture(stream.raw(), &graph.raw), "cuStreamEndCapture");
    GraphExec exec(driver);
    driver->check(driver->graphInstantiate(&exec.exec_, graph.raw, 0), "cuGraphInstantiate");
    driver->check(driver->graphUpload(exec.exec_, stream.raw()), "cuGraphUpload");
    return exec;
  }

  ~GraphExec() {
    if (exec_ != nullptr) driver_->release(driver_->graphExecDestroy(exec_));
  }
  GraphExec(GraphExec&& other) noexcept : driver_(other.driver_), exec_(other.exec_) { other.exec_ = nullptr; }
  GraphExec(const GraphExec&) = delete;
  GraphExec& operator=(const GraphExec&) = delete;
  GraphExec& operator=(GraphExec&&) = delete;

  void launch(const Stream& stream) const {
    driver_->check(driver_->graphLaunch(exec_, stream.raw()), "cuGraphLaunch");
  }

 private:
  struct Template {
    explicit Template(DriverPtr owner) : driver(std::move(owner)) {}
    ~Template() {
      if (raw != nullptr) driver->release(driver->graphDestroy(raw));
    }
    Template(const Template&) = delete;
    Template& operator=(const Template&) = delete;
    DriverPtr driver;
    RawGraph raw = nullptr;
  };

  explicit GraphExec(DriverPtr driver) : driver_(std::move(driver)) {}

  DriverPtr driver_;
  RawGraphExec exec_ = nullptr;
};

}  // namespace turbopi::cuda
