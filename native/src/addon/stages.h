#pragma once

#include <napi.h>

#include <functional>
#include <memory>

#include "pi05/stage.h"

namespace turbopi::addon {

/// Makes a session's stages on its GPU thread, with the context of `device` current.
using OpenStages = std::function<std::unique_ptr<pi05::StageMaker>(const cuda::DriverPtr& driver, int device)>;

/// Reads {kind, …}, what `openSession` is to run, on the JavaScript thread. A kind that is not known is a TypeError.
OpenStages stages(const Napi::Object& object);

}  // namespace turbopi::addon
