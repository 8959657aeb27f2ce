#include "addon/read_cards.h"

#include <optional>
#include <string>
#include <vector>

#include "addon/aside.h"

namespace turbopi::addon {
namespace {

using Readings = std::vector<nvml::Reading>;

Napi::Object readingObject(Napi::Env env, const nvml::Reading& reading) {
  Napi::Object out = Napi::Object::New(env);
  const auto text = [&](const char* name, const std::string& value) {
    if (!value.empty()) out.Set(name, value);
  };
  const auto number = [&](const char* name, const std::optional<double>& value) {
    if (value) out.Set(name, *value);
  };
  out.Set("device", reading.device);
  text("reason", reading.reason);
  text("name", reading.name);
  text("uuid", reading.uuid);
  text("pciBusId", reading.pciBusId);
  number("utilisation", reading.utilisation);
  number("memoryUtilisation", reading.memoryUtilisation);
  number("memoryUsed", reading.memoryUsed);
  number("memoryTotal", reading.memoryTotal);
  number("celsius", reading.celsius);
  number("watts", reading.watts);
  if (reading.clockReasons) out.Set("clockReasons", static_cast<double>(*reading.clockReasons));
  number("eccCorrected", reading.eccCorrected);
  number("eccUncorrected", reading.eccUncorrected);
  if (reading.processes) {
    Napi::Array pids = Napi::Array::New(env, reading.processes->size());
    for (size_t i = 0; i < reading.processes->size(); ++i)
      pids.Set(static_cast<uint32_t>(i), static_cast<double>((*reading.processes)[i]));
    out.Set("processes", pids);
  }
  return out;
}

Napi::Value toValue(Napi::Env env, const Readings& readings) {
  Napi::Array out = Napi::Array::New(env, readings.size());
  for (size_t i = 0; i < readings.size(); ++i) out.Set(static_cast<uint32_t>(i), readingObject(env, readings[i]));
  return out;
}

}  // namespace

Napi::Value readCards(const Napi::CallbackInfo& info, const std::shared_ptr<nvml::Cards>& cards) {
  const Napi::Env env = info.Env();
  if (info.Length() < 1 || !info[0].IsArray()) throw Napi::TypeError::New(env, "readCards takes an array of devices");
  const Napi::Array list = info[0].As<Napi::Array>();
  std::vector<int> devices;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Value device = list.Get(i);
    if (!device.IsNumber()) throw Napi::TypeError::New(env, "a device is not a number");
    devices.push_back(device.As<Napi::Number>().Int32Value());
  }
  return Aside<Readings>::run(env, [cards, devices] { return cards->read(devices); }, toValue);
}

}  // namespace turbopi::addon
