#pragma once

#include "cuda/driver.h"

namespace turbopi::cuda {

/// Fails a card's primary context for good, as a fault of the hardware does: for tests of what a server does then. A kernel
/// traps in it; from then on every call in that context fails, of whichever thread, until nobody holds it any more. Other
/// cards' contexts go on. Throws Error when the context does not fail.
void breakContext(const DriverPtr& driver, int ordinal);

}  // namespace turbopi::cuda
