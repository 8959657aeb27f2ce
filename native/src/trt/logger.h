#pragma once

#include <NvInfer.h>

#include <atomic>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"

namespace turbopi::trt {

/// Passes TensorRT's messages on to the log sink.
class Logger final : public nvinfer1::ILogger {
 public:
  explicit Logger(LogSink sink) : sink_(std::move(sink)) {}

  void log(Severity severity, const char* message) noexcept override {
    if (!sink_ || severity > Severity::kINFO || message == nullptr) return;
    const LogLevel level = severity <= Severity::kERROR     ? LogLevel::kError
                           : severity == Severity::kWARNING ? LogLevel::kWarning
                                                            : LogLevel::kInfo;
    try {
      sink_(level, message);
    } catch (...) {
      // A message that can not be delivered must not end TensorRT's call.
    }
  }

 private:
  LogSink sink_;
};

/// Collects what TensorRT reports, so that a failed call can say why.
class ErrorRecorder final : public nvinfer1::IErrorRecorder {
 public:
  int32_t getNbErrors() const noexcept override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return static_cast<int32_t>(errors_.size());
  }
  nvinfer1::ErrorCode getErrorCode(int32_t index) const noexcept override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return static_cast<size_t>(index) < errors_.size() ? errors_[static_cast<size_t>(index)].first
                                                       : nvinfer1::ErrorCode::kINVALID_ARGUMENT;
  }
  ErrorDesc getErrorDesc(int32_t index) const noexcept override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return static_cast<size_t>(index) < errors_.size() ? errors_[static_cast<size_t>(index)].second.c_str() : "";
  }
  bool hasOverflowed() const noexcept override { return overflowed_; }
  void clear() noexcept override {
    const std::lock_guard<std::mutex> lock(mutex_);
    errors_.clear();
    overflowed_ = false;
  }
  bool reportError(nvinfer1::ErrorCode code, ErrorDesc text) noexcept override {
    try {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (errors_.size() < kMost) {
        errors_.emplace_back(code, text == nullptr ? "" : text);
      } else {
        overflowed_ = true;
      }
    } catch (...) {
      overflowed_ = true;
    }
    return true;
  }
  RefCount incRefCount() noexcept override { return ++references_; }
  RefCount decRefCount() noexcept override { return --references_; }

  /// `what`, followed by everything reported since the last call.
  std::string explain(const std::string& what) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::string text = what;
    for (const auto& error : errors_) text += ": " + error.second;
    errors_.clear();
    overflowed_ = false;
    return text;
  }

 private:
  static constexpr size_t kMost = 16;

  mutable std::mutex mutex_;
  std::vector<std::pair<nvinfer1::ErrorCode, std::string>> errors_;
  std::atomic<bool> overflowed_{false};
  std::atomic<RefCount> references_{0};
};

}  // namespace turbopi::trt
