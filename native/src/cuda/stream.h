#pragma once

#include "cuda/driver.h"

namespace turbopi::cuda {

/// A point in a stream's work. With timing it can measure; without it is cheaper.
class Event {
 public:
  Event(const DriverPtr& driver, bool timing) : driver_(driver) {
    driver_->check(driver_->eventCreate(&event_, timing ? kEventDefault : kEventDisableTiming), "cuEventCreate");
  }
  ~Event() { driver_->release(driver_->eventDestroy(event_)); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  RawEvent raw() const noexcept { return event_; }

  /// Whether all work before the last record is done. Throws when that work failed.
  bool done() const {
    const Result result = driver_->eventQuery(event_);
    if (result == kNotReady) return false;
    driver_->check(result, "cuEventQuery");
    return true;
  }

  /// Milliseconds between two completed timing events.
  float since(const Event& start) const {
    float milliseconds = 0;
    driver_->check(driver_->eventElapsedTime(&milliseconds, start.event_, event_), "cuEventElapsedTime");
    return milliseconds;
  }

 private:
  DriverPtr driver_;
  RawEvent event_ = nullptr;
};

/// An ordered queue of device work that does not wait for the default stream. Its end waits for the work in it, so what
/// the work uses must be declared before it.
class Stream {
 public:
  enum class Priority { kNormal, kHigh };

  Stream(const DriverPtr& driver, Priority priority) : driver_(driver) {
    int least = 0;
    int greatest = 0;
    driver_->check(driver_->ctxGetStreamPriorityRange(&least, &greatest), "cuCtxGetStreamPriorityRange");
    driver_->check(
        driver_->streamCreateWithPriority(&stream_, kStreamNonBlocking, priority == Priority::kHigh ? greatest : least),
        "cuStreamCreateWithPriority");
  }
  ~Stream() {
    driver_->release(driver_->streamSynchronize(stream_));
    driver_->release(driver_->streamDestroy(stream_));
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  RawStream raw() const noexcept { return stream_; }
  const DriverPtr& driver() const noexcept { return driver_; }

  void record(const Event& event) const { driver_->check(driver_->eventRecord(event.raw(), stream_), "cuEventRecord"); }
  /// Later work in this stream starts after the event's last record; an event never recorded is no wait.
  void wait(const Event& event) const {
    driver_->check(driver_->streamWaitEvent(stream_, event.raw(), 0), "cuStreamWaitEvent");
  }
  void upload(DevicePtr to, const void* from, size_t bytes) const {
    driver_->check(driver_->memcpyHtoDAsync(to, from, bytes, stream_), "cuMemcpyHtoDAsync");
  }
  void download(void* to, DevicePtr from, size_t bytes) const {
    driver_->check(driver_->memcpyDtoHAsync(to, from, bytes, stream_), "cuMemcpyDtoHAsync");
  }
  void copy(DevicePtr to, DevicePtr from, size_t bytes) const {
    driver_->check(driver_->memcpyDtoDAsync(to, from, bytes, stream_), "cuMemcpyDtoDAsync");
  }
  void clear(DevicePtr address, size_t bytes) const {
    driver_->check(driver_->memsetD8Async(address, 0, bytes, stream_), "cuMemsetD8Async");
  }
  /// Calls `function` on a driver thread once all earlier work is done; it must not call CUDA. It is not called
  /// when the context has failed, so it can wake a waiter but must not be the only way to see an end.
  void notify(HostFunction function, void* userData) const {
    driver_->check(driver_->launchHostFunc(stream_, function, userData), "cuLaunchHostFunc");
  }
  void synchronize() const { driver_->check(driver_->streamSynchronize(stream_), "cuStreamSynchronize"); }

 private:
  DriverPtr driver_;
  RawStream stream_ = nullptr;
};

}  // namespace turbopi::cuda
