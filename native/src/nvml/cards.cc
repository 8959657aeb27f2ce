#include "nvml/cards.h"

#include "base/error.h"

namespace turbopi::nvml {
namespace {

/// How often the list of processes is asked for anew when it has grown between two calls.
constexpr int kAttempts = 3;

std::string text(Result (*ask)(Device, char*, unsigned), Device device) {
  char answer[96] = {};
  return ask != nullptr && ask(device, answer, sizeof answer - 1) == kSuccess ? answer : "";
}

template <typename Value>
std::optional<double> number(Result (*ask)(Device, Value*), Device device) {
  Value value = 0;
  if (ask == nullptr || ask(device, &value) != kSuccess) return std::nullopt;
  return static_cast<double>(value);
}

std::optional<uint64_t> clockReasons(const Library& nvml, Device device) {
  unsigned long long reasons = 0;
  for (const auto ask : {nvml.clocksEventReasons, nvml.clocksThrottleReasons})
    if (ask != nullptr && ask(device, &reasons) == kSuccess) return reasons;
  return std::nullopt;
}

std::optional<double> eccErrors(const Library& nvml, Device device, int type) {
  unsigned long long count = 0;
  if (nvml.totalEccErrors == nullptr || nvml.totalEccErrors(device, type, kVolatile, &count) != kSuccess)
    return std::nullopt;
  return static_cast<double>(count);
}

std::optional<std::vector<unsigned>> processes(const Library& nvml, Device device) {
  if (nvml.computeProcesses == nullptr) return std::nullopt;
  std::vector<Process> found(16);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    auto count = static_cast<unsigned>(found.size());
    const Result result = nvml.computeProcesses(device, &count, found.data());
    if (result == kSuccess) {
      std::vector<unsigned> pids;
      for (unsigned i = 0; i < count && i < found.size(); ++i) pids.push_back(found[i].pid);
      return pids;
    }
    if (result != kInsufficientSize) return std::nullopt;
    found.resize(2 * (count + found.size()));
  }
  return std::nullopt;
}

}  // namespace

std::vector<Reading> Cards::read(const std::vector<int>& devices) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!nvml_) {
    driver_ = cuda::Driver::load();
    nvml_ = Library::load();
  }
  std::vector<Reading> readings;
  for (const int device : devices) {
    try {
      readings.push_back(readOne(device));
    } catch (const Error& error) {
      readings.push_back({});
      readings.back().device = device;
      readings.back().reason = error.what();
    }
  }
  return readings;
}

Reading Cards::readOne(int device) {
  std::string& busId = busIds_[device];
  if (busId.empty()) busId = driver_->device(device).pciBusId;
  Device card = nullptr;
  nvml_->check(nvml_->deviceByPciBusId(busId.c_str(), &card), "nvmlDeviceGetHandleByPciBusId");
  Reading reading;
  reading.device = device;
  reading.pciBusId = busId;
  reading.name = text(nvml_->deviceGetName, card);
  reading.uuid = text(nvml_->deviceGetUuid, card);
  Utilization rates{};
  if (nvml_->utilizationRates != nullptr && nvml_->utilizationRates(card, &rates) == kSuccess) {
    reading.utilisation = rates.gpu;
    reading.memoryUtilisation = rates.memory;
  }
  Memory memory{};
  if (nvml_->memoryInfo != nullptr && nvml_->memoryInfo(card, &memory) == kSuccess) {
    reading.memoryUsed = static_cast<double>(memory.used);
    reading.memoryTotal = static_cast<double>(memory.total);
  }
  unsigned celsius = 0;
  if (nvml_->temperature != nullptr && nvml_->temperature(card, kTemperatureOfDie, &celsius) == kSuccess)
    reading.celsius = celsius;
  if (const auto milliwatts = number(nvml_->powerUsage, card)) reading.watts = *milliwatts / 1000;
  reading.clockReasons = clockReasons(*nvml_, card);
  reading.eccCorrected = eccErrors(*nvml_, card, kCorrected);
  reading.eccUncorrected = eccErrors(*nvml_, card, kUncorrected);
  reading.processes = processes(*nvml_, card);
  return reading;
}

}  // namespace turbopi::nvml
