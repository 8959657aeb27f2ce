#pragma once

#include "cuda/driver.h"

namespace turbopi::cuda {

/// Destroys a card's primary context, with the memory, streams and kernels in it: for tests of what a server does when a card
/// is gone. The context is current, and all its users hold `driver`, which nobody else does: it is cut off, so that their
/// next call fails, and so that they can be closed. Work in flight ends first. Other cards' contexts go on.
/// TensorRT calls the driver by itself: not for its sessions.
void breakContext(Driver& driver, const Context& context);

}  // namespace turbopi::cuda
