#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "pi05/session.h"

namespace turbopi::check {

/// A session with so many lanes.
using OpenLanes = std::function<std::unique_ptr<pi05::Session>(int lanes)>;

/// Frames through the whole network with one lane, then with two, the next prefix beside the running denoise. Prints how
/// much of a frame's time on the GPU lay beside the other lane's; returns how much was wrong: answers with other bits than
/// one lane's, or lanes that did not overlap.
int checkLanes(const OpenLanes& open, const std::vector<pi05::PerceiveInput>& frames, const pi05::ActInput& act);

}  // namespace turbopi::check
