#include <napi.h>

#include "addon/build_task.h"
#include "addon/cuda_memory.h"
#include "addon/probe.h"
#include "addon/read_cards.h"
#include "addon/session_object.h"

namespace turbopi::addon {
namespace {

/// What belongs to one environment: a worker thread that loads the addon gets its own.
struct Instance {
  Napi::FunctionReference session;
  std::shared_ptr<nvml::Cards> cards = std::make_shared<nvml::Cards>();
};

Napi::Value openSession(const Napi::CallbackInfo& info) {
  return SessionObject::open(info, info.Env().GetInstanceData<Instance>()->session);
}

Napi::Value readCardsHere(const Napi::CallbackInfo& info) {
  return readCards(info, info.Env().GetInstanceData<Instance>()->cards);
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto* instance = new Instance;
  instance->session = Napi::Persistent(SessionObject::define(env));
  env.SetInstanceData(instance);
  exports.Set("probe", Napi::Function::New(env, probe));
  exports.Set("planMismatch", Napi::Function::New(env, planMismatch));
  exports.Set("buildPlan", Napi::Function::New(env, buildPlan));
  exports.Set("readCards", Napi::Function::New(env, readCardsHere));
  exports.Set("cudaMemory", Napi::Function::New(env, cudaMemory));
  exports.Set("openSession", Napi::Function::New(env, openSession));
  return exports;
}

}  // namespace
}  // namespace turbopi::addon

static Napi::Object initialise(Napi::Env env, Napi::Object exports) { return turbopi::addon::init(env, exports); }
NODE_API_MODULE(turbo_pi, initialise)
