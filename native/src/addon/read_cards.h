#pragma once

#include <napi.h>

#include <memory>

#include "nvml/cards.h"

namespace turbopi::addon {

/// readCards([device, …]) → a promise of one reading a device. Rejects when NVML cannot be had.
Napi::Value readCards(const Napi::CallbackInfo& info, const std::shared_ptr<nvml::Cards>& cards);

}  // namespace turbopi::addon
