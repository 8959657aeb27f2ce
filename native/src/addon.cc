#include <napi.h>

#include "addon/build_task.h"
#include "addon/convert.h"
#include "addon/session_object.h"
#include "base/error.h"
#include "cuda/driver.h"
#include "trt/library.h"

namespace turbopi::addon {
namespace {

/// probe(device = 0) → what was found, and the first thing that is missing. Never throws for a missing library.
Napi::Value probe(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int device = info.Length() > 0 && info[0].IsNumber() ? info[0].As<Napi::Number>().Int32Value() : 0;
  Napi::Object out = Napi::Object::New(env);
  out.Set("available", false);
  out.Set("headers", trt::Library::headerVersion());
  try {
    const cuda::DriverPtr driver = cuda::Driver::load();
    out.Set("driver", driver->description());
    const cuda::DeviceInfo gpu = driver->device(device);
    out.Set("device", gpu.name);
    out.Set("computeCapability", std::to_string(gpu.major) + "." + std::to_string(gpu.minor));
    out.Set("memoryBytes", static_cast<double>(gpu.memoryBytes));
    out.Set("tensorrtVersion", trt::Library::load()->version());
    out.Set("available", true);
  } catch (const Error& error) {
    out.Set("reason", error.what());
    out.Set("hint", error.hint());
  }
  return out;
}

/// What belongs to one environment: a worker thread that loads the addon gets its own.
struct Instance {
  Napi::FunctionReference session;
};

Napi::Value openSession(const Napi::CallbackInfo& info) {
  return SessionObject::open(info, info.Env().GetInstanceData<Instance>()->session);
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto* instance = new Instance;
  instance->session = Napi::Persistent(SessionObject::define(env));
  env.SetInstanceData(instance);
  exports.Set("probe", Napi::Function::New(env, probe));
  exports.Set("planMismatch", Napi::Function::New(env, planMismatch));
  exports.Set("buildPlan", Napi::Function::New(env, buildPlan));
  exports.Set("openSession", Napi::Function::New(env, openSession));
  return exports;
}

}  // namespace
}  // namespace turbopi::addon

static Napi::Object initialise(Napi::Env env, Napi::Object exports) { return turbopi::addon::init(env, exports); }
NODE_API_MODULE(turbo_pi, initialise)
