#pragma once

#include <napi.h>

namespace turbopi::addon {

/// probe(device = 0) → a promise of what was found, and of the first thing that is missing. It never rejects.
Napi::Value probe(const Napi::CallbackInfo& info);

}  // namespace turbopi::addon
