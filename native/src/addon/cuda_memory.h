#pragma once

#include <napi.h>

namespace turbopi::addon {

/// cudaMemory({stages, lanes, slots, kept?, device}) → a promise of the bytes that a session of `stages`, of kind cuda, allocates
/// when it is opened: {weights, slots, inputs, workspaces}. Where the card is not there, of an H100.
Napi::Value cudaMemory(const Napi::CallbackInfo& info);

}  // namespace turbopi::addon
