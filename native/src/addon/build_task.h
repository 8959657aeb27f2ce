#pragma once

#include <napi.h>

namespace turbopi::addon {

/// buildPlan({graph, onnxPath, planPath, key, profiles, optimizationLevel, timingCachePath, device}, onProgress) →
/// {promise, cancel()}. Builds on a thread of its own and writes the plan under `key` and this machine's fields.
Napi::Value buildPlan(const Napi::CallbackInfo& info);

/// planMismatch({path, key, device}) → a promise of why the plan can not be used here, or of "" when it can.
Napi::Value planMismatch(const Napi::CallbackInfo& info);

}  // namespace turbopi::addon
