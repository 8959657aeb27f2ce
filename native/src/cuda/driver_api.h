#pragma once

#include <cstddef>
#include <cstdint>

/// The part of the CUDA driver's binary interface that is used here, declared without the CUDA toolkit so that the
/// addon compiles on any machine. test/driver_abi_test.cc compares it with cuda.h where a toolkit is installed.

struct CUctx_st;
struct CUstream_st;
struct CUevent_st;
struct CUgraph_st;
struct CUgraphExec_st;
struct CUmod_st;
struct CUfunc_st;

namespace turbopi::cuda {

using Result = int;
using DeviceId = int;
using DevicePtr = unsigned long long;
using RawContext = CUctx_st*;
using RawStream = CUstream_st*;
using RawEvent = CUevent_st*;
using RawGraph = CUgraph_st*;
using RawGraphExec = CUgraphExec_st*;
using RawModule = CUmod_st*;
using RawFunction = CUfunc_st*;
using HostFunction = void (*)(void* userData);

constexpr Result kSuccess = 0;
constexpr Result kOutOfMemory = 2;
constexpr Result kNoDevice = 100;
constexpr Result kNotReady = 600;
constexpr Result kContextIsDestroyed = 709;

constexpr int kAttributeMultiprocessorCount = 16;
constexpr int kAttributeComputeCapabilityMajor = 75;
constexpr int kAttributeComputeCapabilityMinor = 76;

constexpr unsigned kStreamNonBlocking = 1;
constexpr unsigned kEventDefault = 0;
constexpr unsigned kEventDisableTiming = 2;
constexpr int kCaptureThreadLocal = 1;

/// X(member, exported symbol, parameters). Symbols carry their version, as cuda.h's macros would add it. These need no context.
#define TURBO_PI_CUDA_CARD_FUNCTIONS(X)                                                                               \
  X(init, "cuInit", (unsigned flags))                                                                                 \
  X(driverGetVersion, "cuDriverGetVersion", (int* version))                                                           \
  X(getErrorName, "cuGetErrorName", (Result error, const char** name))                                                \
  X(getErrorString, "cuGetErrorString", (Result error, const char** text))                                            \
  X(deviceGetCount, "cuDeviceGetCount", (int* count))                                                                 \
  X(deviceGet, "cuDeviceGet", (DeviceId * device, int ordinal))                                                       \
  X(deviceGetName, "cuDeviceGetName", (char* name, int length, DeviceId device))                                      \
  X(deviceGetAttribute, "cuDeviceGetAttribute", (int* value, int attribute, DeviceId device))                         \
  X(deviceTotalMem, "cuDeviceTotalMem_v2", (size_t* bytes, DeviceId device))                                          \
  X(deviceGetPciBusId, "cuDeviceGetPCIBusId", (char* text, int length, DeviceId device))                              \
  X(primaryCtxRetain, "cuDevicePrimaryCtxRetain", (RawContext * context, DeviceId device))                            \
  X(primaryCtxRelease, "cuDevicePrimaryCtxRelease_v2", (DeviceId device))                                             \
  X(ctxSetCurrent, "cuCtxSetCurrent", (RawContext context))

/// The same of what is done in the calling thread's context.
#define TURBO_PI_CUDA_CONTEXT_FUNCTIONS(X)                                                                            \
  X(ctxGetStreamPriorityRange, "cuCtxGetStreamPriorityRange", (int* least, int* greatest))                            \
  X(memGetInfo, "cuMemGetInfo_v2", (size_t* freeBytes, size_t* totalBytes))                                           \
  X(memAlloc, "cuMemAlloc_v2", (DevicePtr * address, size_t bytes))                                                   \
  X(memFree, "cuMemFree_v2", (DevicePtr address))                                                                     \
  X(memHostAlloc, "cuMemHostAlloc", (void** address, size_t bytes, unsigned flags))                                   \
  X(memFreeHost, "cuMemFreeHost", (void* address))                                                                    \
  X(memsetD8Async, "cuMemsetD8Async", (DevicePtr address, unsigned char value, size_t bytes, RawStream stream))       \
  X(memcpyHtoDAsync, "cuMemcpyHtoDAsync_v2", (DevicePtr to, const void* from, size_t bytes, RawStream stream))        \
  X(memcpyDtoHAsync, "cuMemcpyDtoHAsync_v2", (void* to, DevicePtr from, size_t bytes, RawStream stream))              \
  X(memcpyDtoDAsync, "cuMemcpyDtoDAsync_v2", (DevicePtr to, DevicePtr from, size_t bytes, RawStream stream))          \
  X(streamCreateWithPriority, "cuStreamCreateWithPriority", (RawStream * stream, unsigned flags, int priority))       \
  X(streamDestroy, "cuStreamDestroy_v2", (RawStream stream))                                                          \
  X(streamSynchronize, "cuStreamSynchronize", (RawStream stream))                                                     \
  X(streamWaitEvent, "cuStreamWaitEvent", (RawStream stream, RawEvent event, unsigned flags))                         \
  X(streamBeginCapture, "cuStreamBeginCapture_v2", (RawStream stream, int mode))                                      \
  X(streamEndCapture, "cuStreamEndCapture", (RawStream stream, RawGraph * graph))                                     \
  X(launchHostFunc, "cuLaunchHostFunc", (RawStream stream, HostFunction function, void* userData))                    \
  X(eventCreate, "cuEventCreate", (RawEvent * event, unsigned flags))                                                 \
  X(eventDestroy, "cuEventDestroy_v2", (RawEvent event))                                                              \
  X(eventRecord, "cuEventRecord", (RawEvent event, RawStream stream))                                                 \
  X(eventQuery, "cuEventQuery", (RawEvent event))                                                                     \
  X(eventElapsedTime, "cuEventElapsedTime", (float* milliseconds, RawEvent start, RawEvent end))                      \
  X(graphInstantiate, "cuGraphInstantiateWithFlags", (RawGraphExec * exec, RawGraph graph, unsigned long long flags)) \
  X(graphUpload, "cuGraphUpload", (RawGraphExec exec, RawStream stream))                                              \
  X(graphLaunch, "cuGraphLaunch", (RawGraphExec exec, RawStream stream))                                              \
  X(graphDestroy, "cuGraphDestroy", (RawGraph graph))                                                                 \
  X(graphExecDestroy, "cuGraphExecDestroy", (RawGraphExec exec))                                                      \
  X(moduleLoadData, "cuModuleLoadData", (RawModule * module, const void* image))                                      \
  X(moduleUnload, "cuModuleUnload", (RawModule module))                                                               \
  X(moduleGetFunction, "cuModuleGetFunction", (RawFunction * function, RawModule module, const char* name))           \
  X(launchKernel, "cuLaunchKernel",                                                                                   \
    (RawFunction function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY,          \
     unsigned blockZ, unsigned sharedBytes, RawStream stream, void** parameters, void** extra))

#define TURBO_PI_CUDA_FUNCTIONS(X) \
  TURBO_PI_CUDA_CARD_FUNCTIONS(X)  \
  TURBO_PI_CUDA_CONTEXT_FUNCTIONS(X)

}  // namespace turbopi::cuda
