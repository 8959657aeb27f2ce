#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "pi05/session.h"

namespace turbopi::check {

/// A session with so many lanes.
using OpenLanes = std::function<std::unique_ptr<pi05::Session>(int lanes)>;

/// `rounds` frames of any one number of rows through the whole network with one lane, then with two, the next prefix beside the
/// running denoise. Prints how much of a frame's time on the GPU lay beside the other lane's, and the rows a second; returns how
/// much was wrong: answers with other bits than one lane's, or lanes that did not overlap.
int checkLanes(const OpenLanes& open, const std::vector<pi05::PerceiveInput>& frames, const pi05::ActInput& act, int rounds);

}  // namespace turbopi::check
