#pragma once

/// The part of NVML's binary interface that is used here, declared from NVIDIA's reference of it (docs.nvidia.com/deploy/
/// nvml-api), so that the addon compiles where there is no header. test/nvml_abi_test.cc compares it with nvml.h where
/// there is one.

struct nvmlDevice_st;

namespace turbopi::nvml {

using Result = int;
using Device = nvmlDevice_st*;

constexpr Result kSuccess = 0;
constexpr Result kInsufficientSize = 7;

constexpr int kTemperatureOfDie = 0;
constexpr int kCorrected = 0;
constexpr int kUncorrected = 1;
/// Counted since the driver was loaded.
constexpr int kVolatile = 0;

/// Percent of the last sample period, which is a sixth of a second to one second long.
struct Utilization {
  unsigned gpu;
  unsigned memory;
};

struct Memory {
  unsigned long long total;
  unsigned long long free;
  unsigned long long used;
};

struct Process {
  unsigned pid;
  unsigned long long usedGpuMemory;
  unsigned gpuInstance;
  unsigned computeInstance;
};

/// X(returned, member, exported symbol, parameters): without these nothing can be read.
#define TURBO_PI_NVML_REQUIRED(X)                                      \
  X(Result, init, "nvmlInit_v2", ())                                   \
  X(const char*, errorString, "nvmlErrorString", (Result result))      \
  X(Result, deviceByPciBusId, "nvmlDeviceGetHandleByPciBusId_v2", (const char* busId, Device* device))

/// What a driver may be too old or too new for.
#define TURBO_PI_NVML_OPTIONAL(X)                                                                                    \
  X(Result, deviceGetName, "nvmlDeviceGetName", (Device device, char* name, unsigned length))                        \
  X(Result, deviceGetUuid, "nvmlDeviceGetUUID", (Device device, char* uuid, unsigned length))                        \
  X(Result, utilizationRates, "nvmlDeviceGetUtilizationRates", (Device device, Utilization * rates))                 \
  X(Result, memoryInfo, "nvmlDeviceGetMemoryInfo", (Device device, Memory * memory))                                 \
  X(Result, temperature, "nvmlDeviceGetTemperature", (Device device, int sensor, unsigned* celsius))                 \
  X(Result, powerUsage, "nvmlDeviceGetPowerUsage", (Device device, unsigned* milliwatts))                            \
  X(Result, clocksEventReasons, "nvmlDeviceGetCurrentClocksEventReasons",                                            \
    (Device device, unsigned long long* reasons))                                                                    \
  X(Result, clocksThrottleReasons, "nvmlDeviceGetCurrentClocksThrottleReasons",                                      \
    (Device device, unsigned long long* reasons))                                                                    \
  X(Result, totalEccErrors, "nvmlDeviceGetTotalEccErrors",                                                           \
    (Device device, int errorType, int counterType, unsigned long long* count))                                      \
  X(Result, computeProcesses, "nvmlDeviceGetComputeRunningProcesses_v3",                                             \
    (Device device, unsigned* count, Process* processes))

}  // namespace turbopi::nvml
