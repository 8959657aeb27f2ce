#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "addon/convert.h"
#include "addon/js_queue.h"
#include "base/error.h"

namespace turbopi::addon {

/// Work that a driver may hold up for as long as it likes: on a thread of its own, so that it takes none of Node's four
/// workers, and the end of the process does not wait for it. The event loop stays open until it has ended.
template <typename Result>
class Aside {
 public:
  using Work = std::function<Result()>;
  using ToValue = Napi::Value (*)(Napi::Env, const Result&);

  /// A promise of what `work` returns; it rejects as sessions do, and stays pending when the environment is left.
  static Napi::Promise run(Napi::Env env, Work work, ToValue toValue) {
    const auto deferred = Napi::Promise::Deferred::New(env);
    // Hooks run in reverse order: this one before the queue's own.
    auto* hold = new Hold{env, std::make_shared<JsQueue>(env)};
    hold->queue->retain(env);
    napi_add_env_cleanup_hook(env, leave, hold);
    std::thread([hold, queue = hold->queue, deferred, work = std::move(work), toValue] {
      auto end = std::make_shared<End>(outcomeOf(work));
      queue->post([hold, deferred, end, toValue](Napi::Env js) {
        hold->queue->settle(js);
        napi_remove_env_cleanup_hook(hold->env, leave, hold);
        delete hold;
        if (end->failed) {
          deferred.Reject(errorValue(js, "failed", end->reason, end->hint));
        } else {
          deferred.Resolve(toValue(js, end->result));
        }
      });
      queue->release();
    }).detach();
    return deferred.Promise();
  }

 private:
  struct Hold {
    napi_env env;
    std::shared_ptr<JsQueue> queue;
  };
  struct End {
    bool failed = false;
    std::string reason;
    std::string hint;
    Result result{};
  };

  static End outcomeOf(const Work& work) {
    End end;
    try {
      end.result = work();
    } catch (const Error& error) {
      end.failed = true;
      end.reason = error.what();
      end.hint = error.hint();
    } catch (const std::exception& error) {
      end.failed = true;
      end.reason = error.what();
    }
    return end;
  }

  /// Node leaves while the work goes on: what it finds is not delivered.
  static void leave(void* data) {
    const std::unique_ptr<Hold> hold(static_cast<Hold*>(data));
    hold->queue->release();
  }
};

}  // namespace turbopi::addon
