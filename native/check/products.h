#pragma once

#include <string>

#include "cuda/driver.h"

namespace turbopi::check {

/// Times every plan of every product of the network, weights from memory, and prints the best of each and the plan that
/// the runtime takes (marked *). `float8`: those alone that are of 8-bit floats.
void timeProducts(const cuda::DriverPtr& driver, const std::string& kernels, bool float8);

}  // namespace turbopi::check
