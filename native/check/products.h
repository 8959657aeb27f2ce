#pragma once

#include <string>

#include "cuda/driver.h"

namespace turbopi::check {

/// Times every plan of every product of the network, weights from memory, and prints the best of each and the plan that
/// the runtime takes (marked *).
void timeProducts(const cuda::DriverPtr& driver, const std::string& kernels);

}  // namespace turbopi::check
