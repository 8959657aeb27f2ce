#include "fake_nvml.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "nvml/api.h"

using namespace turbopi::nvml;

struct nvmlDevice_st {
  unsigned bus;
  const char* uuid;
  FakeNvmlCard card;
};

namespace {

constexpr Result kInvalidArgument = 2;
constexpr Result kNotFound = 6;

nvmlDevice_st cards[] = {{0x1b, "GPU-00000000-0000-0000-0000-00000000001b", {}},
                         {0x3d, "GPU-00000000-0000-0000-0000-00000000003d", {}}};
std::mutex mutex;
std::map<std::string, Result>& faults() {
  static auto* const made = new std::map<std::string, Result>;
  return *made;
}

int environment(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? 0 : std::atoi(text);
}

Result enter(const char* function) {
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = faults().find(function);
  return found == faults().end() ? kSuccess : found->second;
}

template <typename Value>
Result tell(const char* function, Value* to, Value value) {
  if (const Result result = enter(function)) return result;
  *to = value;
  return kSuccess;
}

Result tellText(const char* function, char* to, unsigned length, const char* text) {
  if (const Result result = enter(function)) return result;
  return std::snprintf(to, length, "%s", text) < static_cast<int>(length) ? kSuccess : kInsufficientSize;
}

}  // namespace

extern "C" {

FakeNvmlCard* fakeNvmlCard(int index) { return &cards[index].card; }
void fakeNvmlFail(const char* function, int code) {
  const std::lock_guard<std::mutex> lock(mutex);
  faults()[function] = code;
}

Result nvmlInit_v2() { return environment("FAKE_NVML_INIT"); }
const char* nvmlErrorString(Result) { return "made by a test"; }
Result nvmlDeviceGetHandleByPciBusId_v2(const char* busId, Device* device) {
  if (const Result result = enter("nvmlDeviceGetHandleByPciBusId_v2")) return result;
  unsigned domain = 0, bus = 0, number = 0, function = 0;
  if (std::sscanf(busId, "%x:%x:%x.%x", &domain, &bus, &number, &function) != 4) return kInvalidArgument;
  for (nvmlDevice_st& card : cards) {
    if (card.bus != bus) continue;
    *device = &card;
    return kSuccess;
  }
  return kNotFound;
}
Result nvmlDeviceGetName(Device, char* name, unsigned length) {
  return tellText("nvmlDeviceGetName", name, length, "Stand-in card");
}
Result nvmlDeviceGetUUID(Device device, char* uuid, unsigned length) {
  return tellText("nvmlDeviceGetUUID", uuid, length, device->uuid);
}
Result nvmlDeviceGetUtilizationRates(Device device, Utilization* rates) {
  std::this_thread::sleep_for(std::chrono::milliseconds(environment("FAKE_NVML_DELAY_MS")));
  return tell("nvmlDeviceGetUtilizationRates", rates, Utilization{device->card.gpu, device->card.memory});
}
Result nvmlDeviceGetMemoryInfo(Device device, Memory* memory) {
  const FakeNvmlCard& card = device->card;
  return tell("nvmlDeviceGetMemoryInfo", memory, Memory{card.total, card.total - card.used, card.used});
}
Result nvmlDeviceGetTemperature(Device device, int sensor, unsigned* celsius) {
  return sensor == 0 ? tell("nvmlDeviceGetTemperature", celsius, device->card.celsius) : kInvalidArgument;
}
Result nvmlDeviceGetPowerUsage(Device device, unsigned* milliwatts) {
  return tell("nvmlDeviceGetPowerUsage", milliwatts, device->card.milliwatts);
}
Result nvmlDeviceGetCurrentClocksEventReasons(Device device, unsigned long long* reasons) {
  return tell("nvmlDeviceGetCurrentClocksEventReasons", reasons, device->card.clockReasons);
}
Result nvmlDeviceGetCurrentClocksThrottleReasons(Device device, unsigned long long* reasons) {
  return tell("nvmlDeviceGetCurrentClocksThrottleReasons", reasons, device->card.clockReasons);
}
Result nvmlDeviceGetTotalEccErrors(Device device, int type, int counter, unsigned long long* count) {
  if (counter != 0) return kInvalidArgument;
  return tell("nvmlDeviceGetTotalEccErrors", count, type == 0 ? device->card.corrected : device->card.uncorrected);
}
Result nvmlDeviceGetComputeRunningProcesses_v3(Device device, unsigned* count, Process* processes) {
  if (const Result result = enter("nvmlDeviceGetComputeRunningProcesses_v3")) return result;
  const auto running = static_cast<unsigned>(device->card.processes);
  const bool fits = running <= *count;
  *count = running;
  if (!fits) return kInsufficientSize;
  for (unsigned i = 0; i < running; ++i) processes[i] = {1000 + i, 1 << 20, ~0u, ~0u};
  return kSuccess;
}

}  // extern "C"
