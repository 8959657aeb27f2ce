#pragma once

#include <napi.h>

namespace turbopi::addon {

/// Adds what tests of faults need, and nobody else: destroyContext(device) → a promise, settled once every session on the
/// card has failed for good. Only where TURBO_PI_TEST_HOOKS is 1 as the addon is loaded.
void addTestHooks(Napi::Env env, Napi::Object exports);

}  // namespace turbopi::addon
