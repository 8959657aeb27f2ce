#include <nvml.h>

#include <cstddef>
#include <type_traits>

#include "nvml/api.h"

/// Compares the declarations in nvml/api.h with NVIDIA's own, where there are some. Enums and our ints are of one size.
namespace ours = turbopi::nvml;
// A newer header calls nvmlDeviceGetTemperature deprecated; its symbol stays.
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

template <typename Ours, typename Theirs>
constexpr bool sameLayout() {
  return sizeof(Ours) == sizeof(Theirs) && alignof(Ours) == alignof(Theirs);
}

static_assert(std::is_same_v<ours::Device, nvmlDevice_t> && sizeof(ours::Result) == sizeof(nvmlReturn_t));
static_assert(ours::kSuccess == NVML_SUCCESS && ours::kInsufficientSize == NVML_ERROR_INSUFFICIENT_SIZE);
static_assert(ours::kTemperatureOfDie == NVML_TEMPERATURE_GPU && ours::kVolatile == NVML_VOLATILE_ECC);
static_assert(ours::kCorrected == NVML_MEMORY_ERROR_TYPE_CORRECTED);
static_assert(ours::kUncorrected == NVML_MEMORY_ERROR_TYPE_UNCORRECTED);
static_assert(sameLayout<ours::Utilization, nvmlUtilization_t>());
static_assert(offsetof(ours::Utilization, memory) == offsetof(nvmlUtilization_t, memory));
static_assert(sameLayout<ours::Memory, nvmlMemory_t>());
static_assert(offsetof(ours::Memory, used) == offsetof(nvmlMemory_t, used));
static_assert(sameLayout<ours::Process, nvmlProcessInfo_t>());
static_assert(offsetof(ours::Process, usedGpuMemory) == offsetof(nvmlProcessInfo_t, usedGpuMemory));

/// That NVIDIA's declaration takes as many words as ours, each of the same size.
template <typename Ours, typename Theirs>
struct SameCall : std::false_type {};
template <typename OurReturn, typename... Ours, typename TheirReturn, typename... Theirs>
struct SameCall<OurReturn(Ours...), TheirReturn(Theirs...)>
    : std::bool_constant<sizeof...(Ours) == sizeof...(Theirs) && sizeof(OurReturn) == sizeof(TheirReturn)> {
  static_assert(((sizeof(Ours) == sizeof(Theirs) && std::is_pointer_v<Ours> == std::is_pointer_v<Theirs>)&&...));
};
#define CHECK_CALL(theirs, returned, parameters)                                                      \
  static_assert(SameCall<ours::returned parameters, std::remove_pointer_t<decltype(&theirs)>>::value, \
                #theirs)
using ours::Device;
using ours::Memory;
using ours::Process;
using ours::Utilization;
CHECK_CALL(nvmlInit_v2, Result, ());
CHECK_CALL(nvmlDeviceGetHandleByPciBusId_v2, Result, (const char*, Device*));
CHECK_CALL(nvmlDeviceGetName, Result, (Device, char*, unsigned));
CHECK_CALL(nvmlDeviceGetUUID, Result, (Device, char*, unsigned));
CHECK_CALL(nvmlDeviceGetUtilizationRates, Result, (Device, Utilization*));
CHECK_CALL(nvmlDeviceGetMemoryInfo, Result, (Device, Memory*));
CHECK_CALL(nvmlDeviceGetTemperature, Result, (Device, int, unsigned*));
CHECK_CALL(nvmlDeviceGetPowerUsage, Result, (Device, unsigned*));
CHECK_CALL(nvmlDeviceGetTotalEccErrors, Result, (Device, int, int, unsigned long long*));
CHECK_CALL(nvmlDeviceGetComputeRunningProcesses_v3, Result, (Device, unsigned*, Process*));
