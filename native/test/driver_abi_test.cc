#include <cuda.h>

#include <type_traits>

#include "cuda/driver_api.h"

/// Compares the declarations in cuda/driver_api.h with NVIDIA's own, where a toolkit is installed. Structs are the same
/// types; enums and our ints are compared by size, since only the calling convention matters.
namespace {

using turbopi::cuda::Result;

template <typename Ours, typename Theirs>
struct SameWord
    : std::bool_constant<std::is_same_v<Ours, Theirs> || (std::is_enum_v<Theirs> && sizeof(Ours) == sizeof(Theirs)) ||
                         (std::is_pointer_v<Ours> && std::is_pointer_v<Theirs>) ||
                         (std::is_integral_v<Ours> && std::is_integral_v<Theirs> && sizeof(Ours) == sizeof(Theirs))> {};

template <typename Ours, typename Theirs>
struct SameCall : std::false_type {};

template <typename OurReturn, typename... Ours, typename TheirReturn, typename... Theirs>
struct SameCall<OurReturn(Ours...), TheirReturn(Theirs...)> {
  static constexpr bool compare() {
    if constexpr (sizeof...(Ours) != sizeof...(Theirs)) {
      return false;
    } else {
      return SameWord<OurReturn, TheirReturn>::value && (SameWord<Ours, Theirs>::value && ...);
    }
  }
  static constexpr bool value = compare();
};

#define CHECK_CALL(parameters, theirs) \
  static_assert(SameCall<Result parameters, std::remove_pointer_t<decltype(&theirs)>>::value, #theirs)

using namespace turbopi::cuda;
CHECK_CALL((unsigned), cuInit);
CHECK_CALL((int*), cuDriverGetVersion);
CHECK_CALL((Result, const char**), cuGetErrorName);
CHECK_CALL((DeviceId*, int), cuDeviceGet);
CHECK_CALL((char*, int, DeviceId), cuDeviceGetName);
CHECK_CALL((int*, int, DeviceId), cuDeviceGetAttribute);
CHECK_CALL((size_t*, DeviceId), cuDeviceTotalMem);
CHECK_CALL((char*, int, DeviceId), cuDeviceGetPCIBusId);
CHECK_CALL((RawContext*, DeviceId), cuDevicePrimaryCtxRetain);
CHECK_CALL((DeviceId), cuDevicePrimaryCtxRelease);
CHECK_CALL((RawContext), cuCtxSetCurrent);
CHECK_CALL((int*, int*), cuCtxGetStreamPriorityRange);
CHECK_CALL((size_t*, size_t*), cuMemGetInfo);
CHECK_CALL((DevicePtr*, size_t), cuMemAlloc);
CHECK_CALL((DevicePtr), cuMemFree);
CHECK_CALL((void**, size_t, unsigned), cuMemHostAlloc);
CHECK_CALL((void*), cuMemFreeHost);
CHECK_CALL((DevicePtr, unsigned char, size_t, RawStream), cuMemsetD8Async);
CHECK_CALL((DevicePtr, const void*, size_t, RawStream), cuMemcpyHtoDAsync);
CHECK_CALL((void*, DevicePtr, size_t, RawStream), cuMemcpyDtoHAsync);
CHECK_CALL((DevicePtr, DevicePtr, size_t, RawStream), cuMemcpyDtoDAsync);
CHECK_CALL((RawStream*, unsigned, int), cuStreamCreateWithPriority);
CHECK_CALL((RawStream), cuStreamDestroy);
CHECK_CALL((RawStream), cuStreamSynchronize);
CHECK_CALL((RawStream, RawEvent, unsigned), cuStreamWaitEvent);
CHECK_CALL((RawStream, int), cuStreamBeginCapture);
CHECK_CALL((RawStream, RawGraph*), cuStreamEndCapture);
CHECK_CALL((RawStream, HostFunction, void*), cuLaunchHostFunc);
CHECK_CALL((RawEvent*, unsigned), cuEventCreate);
CHECK_CALL((RawEvent), cuEventDestroy);
CHECK_CALL((RawEvent, RawStream), cuEventRecord);
CHECK_CALL((RawEvent), cuEventQuery);
CHECK_CALL((float*, RawEvent, RawEvent), cuEventElapsedTime);
CHECK_CALL((RawGraphExec*, RawGraph, unsigned long long), cuGraphInstantiateWithFlags);
CHECK_CALL((RawGraphExec, RawStream), cuGraphUpload);
CHECK_CALL((RawGraphExec, RawStream), cuGraphLaunch);
CHECK_CALL((RawGraph), cuGraphDestroy);
CHECK_CALL((RawGraphExec), cuGraphExecDestroy);
CHECK_CALL((RawModule*, const void*), cuModuleLoadData);
CHECK_CALL((RawModule), cuModuleUnload);
CHECK_CALL((RawFunction*, RawModule, const char*), cuModuleGetFunction);
CHECK_CALL((RawFunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, RawStream, void**,
            void**),
           cuLaunchKernel);
static_assert(kOutOfMemory == CUDA_ERROR_OUT_OF_MEMORY);
static_assert(kNoDevice == CUDA_ERROR_NO_DEVICE && kNotReady == CUDA_ERROR_NOT_READY);
static_assert(kStreamNonBlocking == CU_STREAM_NON_BLOCKING && kEventDisableTiming == CU_EVENT_DISABLE_TIMING);
static_assert(kCaptureThreadLocal == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
static_assert(kAttributeMultiprocessorCount == CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
static_assert(kAttributeComputeCapabilityMajor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
static_assert(kAttributeComputeCapabilityMinor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);

}  // namespace
