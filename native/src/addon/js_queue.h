#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <mutex>

namespace turbopi::addon {

/// Carries closures from one native thread to the JavaScript thread, and keeps the event loop alive only while promises
/// are pending. Closures that can not be delivered because the environment is leaving are dropped.
class JsQueue {
 public:
  using Closure = std::function<void(Napi::Env)>;

  /// On the JavaScript thread. The native thread holds the queue open until it calls release.
  explicit JsQueue(Napi::Env env) : queue_(Queue::New(env, "turbo-pi", 0, 1)) { queue_.Unref(env); }
  JsQueue(const JsQueue&) = delete;
  JsQueue& operator=(const JsQueue&) = delete;

  /// From any thread.
  void post(Closure closure) {
    auto* moved = new Closure(std::move(closure));
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!open_ || queue_.NonBlockingCall(moved) != napi_ok) {
      // Once the environment is leaving the queue must not be touched again, not even to release it.
      open_ = false;
      delete moved;
    }
  }

  /// The native thread's last use of the queue.
  void release() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (open_) queue_.Release();
    open_ = false;
  }

  /// On the JavaScript thread, when a promise is given out and when it is settled.
  void retain(Napi::Env env) {
    if (pending_++ == 0) queue_.Ref(env);
  }
  void settle(Napi::Env env) {
    if (--pending_ == 0) queue_.Unref(env);
  }

 private:
  static void deliver(Napi::Env env, Napi::Function, std::nullptr_t*, Closure* closure) {
    const std::unique_ptr<Closure> owned(closure);
    if (env == nullptr) return;
    try {
      (*owned)(env);
    } catch (const Napi::Error& error) {
      // A callback threw, or a worker is being terminated and can run no more JavaScript; then this has no effect.
      error.ThrowAsJavaScriptException();
    }
  }
  using Queue = Napi::TypedThreadSafeFunction<std::nullptr_t, Closure, deliver>;

  Queue queue_;
  std::mutex mutex_;
  bool open_ = true;
  int pending_ = 0;
};

}  // namespace turbopi::addon
