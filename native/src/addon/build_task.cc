#include "addon/build_task.h"

#include <atomic>
#include <memory>
#include <thread>

#include "addon/background.h"
#include "addon/convert.h"
#include "addon/js_queue.h"
#include "base/error.h"
#include "trt/engine_builder.h"
#include "trt/machine.h"

namespace turbopi::addon {
namespace {

struct Job {
  trt::BuildRequest request;
  trt::PlanKey key;
  std::string planPath;
  int device = 0;
};

/// One build: its thread, and what JavaScript waits for. It belongs to itself until the thread has ended.
class BuildTask {
 public:
  BuildTask(Napi::Env env, Job job, const Napi::Function& onProgress)
      : env_(env), queue_(env), deferred_(Napi::Promise::Deferred::New(env)), progress_(Napi::Persistent(onProgress)) {
    queue_.retain(env);
    napi_add_env_cleanup_hook(env_, leaveEnvironment, this);
    thread_ = std::thread([this, job = std::move(job)] { run(job); });
  }

  Napi::Value promise() const { return deferred_.Promise(); }
  const std::shared_ptr<std::atomic<bool>>& cancelled() const noexcept { return cancelled_; }

 private:
  void run(const Job& job) {
    std::string status;
    std::string reason;
    std::string hint;
    try {
      const cuda::DriverPtr driver = cuda::Driver::load();
      const trt::LibraryPtr library = trt::Library::load();
      const cuda::Context context(driver, job.device);
      context.makeCurrent();
      trt::PlanKey key = job.key;
      trt::addMachine(key, *library, *driver, job.device);
      const auto plan = trt::buildPlan(
          library, job.request, [this](const std::string& phase, int step, int steps) { report(phase, step, steps); },
          *cancelled_, {});
      trt::PlanFile::write(job.planPath, key, plan->data(), plan->size());
    } catch (const Cancelled& error) {
      status = "cancelled";
      reason = error.what();
    } catch (const Error& error) {
      status = "failed";
      reason = error.what();
      hint = error.hint();
    } catch (const std::exception& error) {
      status = "failed";
      reason = error.what();
    }
    queue_.post([this, status, reason, hint](Napi::Env env) {
      queue_.settle(env);
      if (status.empty()) {
        deferred_.Resolve(env.Undefined());
      } else {
        deferred_.Reject(errorValue(env, status, reason, hint));
      }
      finish();
    });
    queue_.release();
  }

  void report(const std::string& phase, int step, int steps) {
    queue_.post([this, phase, step, steps](Napi::Env env) {
      progress_.Call({Napi::String::New(env, phase), Napi::Number::New(env, step), Napi::Number::New(env, steps)});
    });
  }

  /// On the JavaScript thread, once the last closure has run.
  void finish() {
    napi_remove_env_cleanup_hook(env_, leaveEnvironment, this);
    thread_.join();
    delete this;
  }

  /// Node leaves while TensorRT builds: stop it at its next step. The task itself is left to the end of the process,
  /// since closures that were not delivered still name it.
  static void leaveEnvironment(void* self) {
    auto* task = static_cast<BuildTask*>(self);
    *task->cancelled_ = true;
    task->thread_.join();
  }

  napi_env env_;
  JsQueue queue_;
  Napi::Promise::Deferred deferred_;
  Napi::FunctionReference progress_;
  std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
  std::thread thread_;
};

}  // namespace

Napi::Value buildPlan(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 2 || !info[0].IsObject() || !info[1].IsFunction())
    throw Napi::TypeError::New(env, "buildPlan takes an object and a function");
  const Napi::Object object = info[0].As<Napi::Object>();
  Job job;
  job.request.graph = string(object, "graph");
  job.request.onnxPath = string(object, "onnxPath");
  job.request.profiles = profiles(objectAt(object, "profiles").As<Napi::Array>());
  job.request.optimizationLevel = static_cast<int>(integer(object, "optimizationLevel"));
  job.request.timingCachePath = string(object, "timingCachePath");
  job.key = planKey(objectAt(object, "key"));
  job.planPath = string(object, "planPath");
  job.device = static_cast<int>(integer(object, "device"));
  auto* task = new BuildTask(env, std::move(job), info[1].As<Napi::Function>());
  Napi::Object out = Napi::Object::New(env);
  out.Set("promise", task->promise());
  out.Set("cancel",
          Napi::Function::New(env, [cancelled = task->cancelled()](const Napi::CallbackInfo&) { *cancelled = true; }));
  return out;
}

Napi::Value planMismatch(const Napi::CallbackInfo& info) {
  if (info.Length() < 1 || !info[0].IsObject()) throw Napi::TypeError::New(info.Env(), "planMismatch takes an object");
  const Napi::Object object = info[0].As<Napi::Object>();
  const auto mismatch = [path = string(object, "path"), key = planKey(objectAt(object, "key")),
                         device = static_cast<int>(integer(object, "device"))] {
    trt::PlanKey whole = key;
    trt::addMachine(whole, *trt::Library::load(), *cuda::Driver::load(), device);
    return trt::PlanFile::mismatch(path, whole);
  };
  return Background<std::string>::run(
      info.Env(), mismatch,
      [](Napi::Env env, const std::string& reason) -> Napi::Value { return Napi::String::New(env, reason); });
}

}  // namespace turbopi::addon
