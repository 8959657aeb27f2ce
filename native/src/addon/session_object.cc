#include "addon/session_object.h"

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "addon/convert.h"
#include "addon/stages.h"
#include "base/error.h"

namespace turbopi::addon {
namespace {

/// What `openSession` is asked for.
struct OpenRequest {
  OpenStages stages;
  pi05::SessionOptions options;
  int device = 0;
};

OpenRequest openRequest(const Napi::Object& object) {
  OpenRequest request;
  request.stages = stages(objectAt(object, "stages"));
  request.options = sessionOptions(object);
  request.device = static_cast<int>(integer(object, "device"));
  return request;
}

exec::OpenSession openSession(const OpenRequest& request) {
  exec::OpenSession gpu;
  gpu.driver = cuda::Driver::load();
  gpu.context = std::make_unique<cuda::Context>(gpu.driver, request.device);
  gpu.context->makeCurrent();
  gpu.session =
      std::make_unique<pi05::Session>(gpu.driver, request.stages(gpu.driver, request.device), request.options);
  return gpu;
}

Napi::Object argument(const Napi::CallbackInfo& info) {
  if (info.Length() < 1 || !info[0].IsObject()) throw Napi::TypeError::New(info.Env(), "an object is expected");
  return info[0].As<Napi::Object>();
}

}  // namespace

Napi::Function SessionObject::define(Napi::Env env) {
  std::vector<PropertyDescriptor> methods = {
      InstanceMethod<&SessionObject::perceive>("perceive"), InstanceMethod<&SessionObject::act>("act"),
      InstanceMethod<&SessionObject::setModulation>("setModulation"), InstanceMethod<&SessionObject::trace>("trace"),
      InstanceMethod<&SessionObject::cancel>("cancel"), InstanceMethod<&SessionObject::close>("close")};
  const char* hooks = std::getenv("TURBO_PI_TEST_HOOKS");
  if (hooks != nullptr && std::string(hooks) == "1")
    methods.push_back(InstanceMethod<&SessionObject::destroyContext>("destroyContext"));
  return DefineClass(env, "NativeSession", methods);
}

SessionObject::SessionObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<SessionObject>(info), env_(info.Env()), queue_(std::make_shared<JsQueue>(info.Env())) {
  // Hooks run in reverse order: this one before the queue's own, so the thread ends while the queue is still there.
  napi_add_env_cleanup_hook(env_, leaveEnvironment, this);
}

SessionObject::~SessionObject() {
  napi_remove_env_cleanup_hook(env_, leaveEnvironment, this);
  end();
}

void SessionObject::leaveEnvironment(void* self) { static_cast<SessionObject*>(self)->end(); }

void SessionObject::end() {
  if (gpu_ != nullptr) gpu_.reset();
  queue_->release();
}

Napi::Value SessionObject::open(const Napi::CallbackInfo& info, Napi::FunctionReference& constructor) {
  const Napi::Env env = info.Env();
  const OpenRequest request = openRequest(argument(info));
  const Napi::Object object = constructor.New({});
  SessionObject* self = Unwrap(object);
  const auto deferred = Napi::Promise::Deferred::New(env);
  const std::shared_ptr<JsQueue> queue = self->queue_;
  // The object must not be collected while its promise is pending.
  self->Ref();
  queue->retain(env);
  self->gpu_ = std::make_unique<exec::GpuThread>(
      [request] { return openSession(request); },
      [queue, deferred, self](const pi05::ModelShape* shape, const std::string& reason, const std::string& hint) {
        const bool ok = shape != nullptr;
        queue->post([queue, deferred, self, ok, shape = ok ? *shape : pi05::ModelShape(), reason, hint](Napi::Env js) {
          queue->settle(js);
          Napi::Object session = self->Value();
          self->Unref();
          if (ok) {
            session.Set("shape", shapeObject(js, shape));
            deferred.Resolve(session);
          } else {
            self->end();
            deferred.Reject(errorValue(js, "failed", reason, hint));
          }
        });
      });
  return deferred.Promise();
}

Napi::Value SessionObject::submit(Napi::Env env, exec::Work work, ToValue toValue) {
  if (closing_ || gpu_ == nullptr) throw Napi::Error(env, errorValue(env, "cancelled", "the session is closed", ""));
  const auto deferred = Napi::Promise::Deferred::New(env);
  queue_->retain(env);
  const uint64_t job = gpu_->submit(std::move(work), [queue = queue_, deferred, toValue](exec::Outcome&& outcome) {
    queue->post([queue, deferred, toValue, outcome = std::move(outcome)](Napi::Env js) {
      queue->settle(js);
      if (outcome.status == exec::Outcome::Status::kDone) {
        deferred.Resolve(toValue(js, outcome));
      } else {
        deferred.Reject(errorValue(js, outcome));
      }
    });
  });
  Napi::Object out = Napi::Object::New(env);
  out.Set("job", static_cast<double>(job));
  out.Set("promise", deferred.Promise());
  return out;
}

Napi::Value SessionObject::perceive(const Napi::CallbackInfo& info) {
  const Napi::Object object = argument(info);
  return submit(info.Env(), exec::PerceiveJob{static_cast<int>(integer(object, "slot")), perceiveInput(object)},
                perceiveResult);
}

Napi::Value SessionObject::act(const Napi::CallbackInfo& info) {
  const Napi::Object object = argument(info);
  return submit(info.Env(), exec::ActJob{rowPlaces(object), actInput(object)}, actResult);
}

Napi::Value SessionObject::setModulation(const Napi::CallbackInfo& info) {
  const Napi::Object object = argument(info);
  return submit(info.Env(),
                exec::ModulationJob{static_cast<int>(integer(object, "steps")),
                                    typedArray<float, Napi::Float32Array>(object, "table", napi_float32_array)},
                [](Napi::Env env, const exec::Outcome&) -> Napi::Value { return env.Undefined(); });
}

Napi::Value SessionObject::trace(const Napi::CallbackInfo& info) {
  const Napi::Object object = argument(info);
  return submit(info.Env(),
                exec::TraceJob{static_cast<int>(integer(object, "slot")), perceiveInput(object), actInput(object)},
                traceResult);
}

Napi::Value SessionObject::destroyContext(const Napi::CallbackInfo& info) {
  return submit(info.Env(), exec::BreakJob{},
                [](Napi::Env env, const exec::Outcome&) -> Napi::Value { return env.Undefined(); });
}

Napi::Value SessionObject::cancel(const Napi::CallbackInfo& info) {
  if (gpu_ == nullptr || info.Length() < 1 || !info[0].IsNumber()) return Napi::Boolean::New(info.Env(), false);
  const auto job = static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value());
  return Napi::Boolean::New(info.Env(), gpu_->cancel(job));
}

Napi::Value SessionObject::close(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto deferred = Napi::Promise::Deferred::New(env);
  if (closing_ || gpu_ == nullptr) {
    closing_ = true;
    deferred.Resolve(env.Undefined());
    return deferred.Promise();
  }
  closing_ = true;
  queue_->retain(env);
  Ref();
  gpu_->close([queue = queue_, deferred, self = this] {
    queue->post([queue, deferred, self](Napi::Env js) {
      queue->settle(js);
      self->end();
      self->Unref();
      deferred.Resolve(js.Undefined());
    });
  });
  return deferred.Promise();
}

}  // namespace turbopi::addon
