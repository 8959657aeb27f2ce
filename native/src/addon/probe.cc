#include "addon/probe.h"

#include <optional>
#include <string>

#include "addon/background.h"
#include "cuda/driver.h"
#include "trt/library.h"

namespace turbopi::addon {
namespace {

/// Filled in up to the first missing piece, of which `reason` and `hint` tell.
struct Found {
  std::string driver;
  std::optional<cuda::DeviceInfo> device;
  int devices = 0;
  std::string tensorrt;
  std::string reason;
  std::string hint;
};

Found find(int device) {
  Found found;
  try {
    const cuda::DriverPtr driver = cuda::Driver::load();
    found.driver = driver->description();
    found.devices = driver->deviceCount();
    found.device = driver->device(device);
    found.tensorrt = trt::Library::load()->version();
  } catch (const Error& error) {
    found.reason = error.what();
    found.hint = error.hint();
  }
  return found;
}

Napi::Value toValue(Napi::Env env, const Found& found) {
  Napi::Object out = Napi::Object::New(env);
  const auto set = [&](const char* name, const std::string& text) {
    if (!text.empty()) out.Set(name, text);
  };
  out.Set("available", found.reason.empty());
  out.Set("headers", trt::Library::headerVersion());
  set("driver", found.driver);
  if (found.device) {
    set("device", found.device->name);
    set("computeCapability", std::to_string(found.device->major) + "." + std::to_string(found.device->minor));
    out.Set("devices", found.devices);
    out.Set("memoryBytes", static_cast<double>(found.device->memoryBytes));
  }
  set("tensorrtVersion", found.tensorrt);
  set("reason", found.reason);
  set("hint", found.hint);
  return out;
}

}  // namespace

Napi::Value probe(const Napi::CallbackInfo& info) {
  const int device = info.Length() > 0 && info[0].IsNumber() ? info[0].As<Napi::Number>().Int32Value() : 0;
  return Background<Found>::run(info.Env(), [device] { return find(device); }, toValue);
}

}  // namespace turbopi::addon
