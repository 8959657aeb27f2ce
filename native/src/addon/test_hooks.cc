#include "addon/test_hooks.h"

#include <cstdlib>
#include <string>

#include "addon/background.h"
#include "cuda/break_context.h"

namespace turbopi::addon {
namespace {

Napi::Value destroyContext(const Napi::CallbackInfo& info) {
  if (info.Length() < 1 || !info[0].IsNumber()) throw Napi::TypeError::New(info.Env(), "destroyContext takes a number");
  const int device = info[0].As<Napi::Number>().Int32Value();
  return Background<bool>::run(
      info.Env(),
      [device] {
        cuda::breakContext(cuda::Driver::load(), device);
        return true;
      },
      [](Napi::Env env, const bool&) -> Napi::Value { return env.Undefined(); });
}

}  // namespace

void addTestHooks(Napi::Env env, Napi::Object exports) {
  const char* asked = std::getenv("TURBO_PI_TEST_HOOKS");
  if (asked != nullptr && std::string(asked) == "1")
    exports.Set("destroyContext", Napi::Function::New(env, destroyContext));
}

}  // namespace turbopi::addon
