#pragma once

#include <napi.h>

#include <functional>
#include <string>
#include <utility>

#include "addon/convert.h"
#include "base/error.h"

namespace turbopi::addon {

/// Work that reads libraries or files, off the JavaScript thread. It deletes itself when it has ended.
template <typename Result>
class Background final : public Napi::AsyncWorker {
 public:
  using Work = std::function<Result()>;
  using ToValue = Napi::Value (*)(Napi::Env, const Result&);

  /// A promise of what `work` returns; it rejects as sessions do.
  static Napi::Promise run(Napi::Env env, Work work, ToValue toValue) {
    auto* self = new Background(env, std::move(work), toValue);
    const Napi::Promise promise = self->deferred_.Promise();
    self->Queue();
    return promise;
  }

 private:
  Background(Napi::Env env, Work work, ToValue toValue)
      : Napi::AsyncWorker(env),
        work_(std::move(work)),
        toValue_(toValue),
        deferred_(Napi::Promise::Deferred::New(env)) {}

  void Execute() override {
    try {
      result_ = work_();
    } catch (const Error& error) {
      hint_ = error.hint();
      SetError(error.what());
    } catch (const std::exception& error) {
      SetError(error.what());
    }
  }
  void OnOK() override { deferred_.Resolve(toValue_(Env(), result_)); }
  void OnError(const Napi::Error& error) override {
    deferred_.Reject(errorValue(Env(), "failed", error.Message(), hint_));
  }

  Work work_;
  ToValue toValue_;
  Napi::Promise::Deferred deferred_;
  Result result_{};
  std::string hint_;
};

}  // namespace turbopi::addon
