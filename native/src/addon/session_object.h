#pragma once

#include <napi.h>

#include <memory>

#include "addon/js_queue.h"
#include "exec/gpu_thread.h"

namespace turbopi::addon {

/// The JavaScript side of a GpuThread. Every call returns {job, promise}; `cancel(job)` takes a job out that has not
/// started; `close()` ends the session. `destroyContext()`, of tests, is there where TURBO_PI_TEST_HOOKS is 1 as the addon is
/// loaded: it destroys the context of a card that no other session uses. A session that is not closed ends when it is collected or Node exits.
class SessionObject : public Napi::ObjectWrap<SessionObject> {
 public:
  static Napi::Function define(Napi::Env env);

  /// Starts opening `constructor`'s new session; the promise gives the object once the GPU is ready.
  static Napi::Value open(const Napi::CallbackInfo& info, Napi::FunctionReference& constructor);

  explicit SessionObject(const Napi::CallbackInfo& info);
  ~SessionObject() override;

 private:
  using ToValue = Napi::Value (*)(Napi::Env, const exec::Outcome&);

  Napi::Value perceive(const Napi::CallbackInfo& info);
  Napi::Value act(const Napi::CallbackInfo& info);
  Napi::Value setModulation(const Napi::CallbackInfo& info);
  Napi::Value trace(const Napi::CallbackInfo& info);
  Napi::Value destroyContext(const Napi::CallbackInfo& info);
  Napi::Value cancel(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);
  Napi::Value submit(Napi::Env env, exec::Work work, ToValue toValue);

  static void leaveEnvironment(void* self);
  /// Ends the thread; waits for work in flight.
  void end();

  napi_env env_;
  std::shared_ptr<JsQueue> queue_;
  std::unique_ptr<exec::GpuThread> gpu_;
  bool closing_ = false;
};

}  // namespace turbopi::addon
