#pragma once

/// Source-compatible stand-in for the part of TensorRT's C++ interface that native/src uses, of this project's own
/// writing. It lets everything compile and run on a machine without TensorRT, with test/fake's libraries behind it. Its
/// virtual tables are not TensorRT's: an addon built with it refuses the real library.

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#define TURBO_PI_MOCK_TENSORRT 1
#define NV_TENSORRT_MAJOR 10
#define NV_TENSORRT_MINOR 13
#define NV_TENSORRT_PATCH 3

namespace nvinfer1 {

enum class DataType : int32_t { kFLOAT, kHALF, kINT8, kINT32, kBOOL, kUINT8, kFP8, kBF16, kINT64 };
enum class ErrorCode : int32_t { kSUCCESS, kUNSPECIFIED_ERROR, kINTERNAL_ERROR, kINVALID_ARGUMENT };
enum class OptProfileSelector : int32_t { kMIN, kOPT, kMAX };
enum class TensorLocation : int32_t { kDEVICE, kHOST };
enum class ExecutionContextAllocationStrategy : int32_t { kSTATIC, kON_PROFILE_CHANGE, kUSER_MANAGED };
enum class NetworkDefinitionCreationFlag : int32_t { kEXPLICIT_BATCH, kSTRONGLY_TYPED };

struct Dims {
  static constexpr int32_t MAX_DIMS = 8;
  int32_t nbDims;
  int64_t d[MAX_DIMS];
};

class ILogger {
 public:
  enum class Severity : int32_t { kINTERNAL_ERROR, kERROR, kWARNING, kINFO, kVERBOSE };
  virtual void log(Severity severity, const char* message) noexcept = 0;
  virtual ~ILogger() = default;
};

class IErrorRecorder {
 public:
  using ErrorDesc = const char*;
  using RefCount = int32_t;
  virtual ~IErrorRecorder() noexcept = default;
  virtual int32_t getNbErrors() const noexcept = 0;
  virtual ErrorCode getErrorCode(int32_t index) const noexcept = 0;
  virtual ErrorDesc getErrorDesc(int32_t index) const noexcept = 0;
  virtual bool hasOverflowed() const noexcept = 0;
  virtual void clear() noexcept = 0;
  virtual bool reportError(ErrorCode code, ErrorDesc text) noexcept = 0;
  virtual RefCount incRefCount() noexcept = 0;
  virtual RefCount decRefCount() noexcept = 0;
};

class IProgressMonitor {
 public:
  virtual ~IProgressMonitor() noexcept = default;
  virtual void phaseStart(const char* phase, const char* parent, int32_t steps) noexcept = 0;
  virtual bool stepComplete(const char* phase, int32_t step) noexcept = 0;
  virtual void phaseFinish(const char* phase) noexcept = 0;
};

class IHostMemory {
 public:
  virtual ~IHostMemory() noexcept = default;
  virtual void* data() const noexcept = 0;
  virtual std::size_t size() const noexcept = 0;
};

class IExecutionContext {
 public:
  virtual ~IExecutionContext() noexcept = default;
  virtual void setErrorRecorder(IErrorRecorder* recorder) noexcept = 0;
  virtual void setDeviceMemoryV2(void* memory, int64_t size) noexcept = 0;
  virtual bool setOptimizationProfileAsync(int32_t profile, cudaStream_t stream) noexcept = 0;
  virtual bool setInputShape(const char* tensor, const Dims& dims) noexcept = 0;
  virtual bool setTensorAddress(const char* tensor, void* address) noexcept = 0;
  virtual bool enqueueV3(cudaStream_t stream) noexcept = 0;
};

class ICudaEngine {
 public:
  virtual ~ICudaEngine() noexcept = default;
  virtual void setErrorRecorder(IErrorRecorder* recorder) noexcept = 0;
  virtual int32_t getNbIOTensors() const noexcept = 0;
  virtual const char* getIOTensorName(int32_t index) const noexcept = 0;
  virtual Dims getTensorShape(const char* tensor) const noexcept = 0;
  virtual DataType getTensorDataType(const char* tensor) const noexcept = 0;
  virtual TensorLocation getTensorLocation(const char* tensor) const noexcept = 0;
  virtual int32_t getNbOptimizationProfiles() const noexcept = 0;
  virtual Dims getProfileShape(const char* tensor, int32_t profile, OptProfileSelector selector) const noexcept = 0;
  virtual int64_t getDeviceMemorySizeForProfileV2(int32_t profile) const noexcept = 0;
  virtual IExecutionContext* createExecutionContext(ExecutionContextAllocationStrategy strategy) noexcept = 0;
};

class IRuntime {
 public:
  virtual ~IRuntime() noexcept = default;
  virtual void setErrorRecorder(IErrorRecorder* recorder) noexcept = 0;
  virtual ICudaEngine* deserializeCudaEngine(const void* plan, std::size_t size) noexcept = 0;
};

class IOptimizationProfile {
 public:
  virtual ~IOptimizationProfile() noexcept = default;
  virtual bool setDimensions(const char* input, OptProfileSelector selector, const Dims& dims) noexcept = 0;
};

class ITimingCache {
 public:
  virtual ~ITimingCache() noexcept = default;
  virtual IHostMemory* serialize() const noexcept = 0;
};

class INetworkDefinition {
 public:
  virtual ~INetworkDefinition() noexcept = default;
};

class IBuilderConfig {
 public:
  virtual ~IBuilderConfig() noexcept = default;
  virtual int32_t addOptimizationProfile(const IOptimizationProfile* profile) noexcept = 0;
  virtual void setBuilderOptimizationLevel(int32_t level) noexcept = 0;
  virtual void setProgressMonitor(IProgressMonitor* monitor) noexcept = 0;
  virtual ITimingCache* createTimingCache(const void* blob, std::size_t size) const noexcept = 0;
  virtual bool setTimingCache(const ITimingCache& cache, bool ignoreMismatch) noexcept = 0;
  virtual const ITimingCache* getTimingCache() const noexcept = 0;
};

class IBuilder {
 public:
  virtual ~IBuilder() noexcept = default;
  virtual void setErrorRecorder(IErrorRecorder* recorder) noexcept = 0;
  virtual INetworkDefinition* createNetworkV2(uint32_t flags) noexcept = 0;
  virtual IBuilderConfig* createBuilderConfig() noexcept = 0;
  virtual IOptimizationProfile* createOptimizationProfile() noexcept = 0;
  virtual IHostMemory* buildSerializedNetwork(INetworkDefinition& network, IBuilderConfig& config) noexcept = 0;
};

}  // namespace nvinfer1
