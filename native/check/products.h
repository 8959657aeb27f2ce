#pragma once

#include <string>
#include <vector>

#include "cuda/driver.h"

namespace turbopi::check {

/// Times every plan of every product of the network, weights from memory, and prints the best of each and the plan that
/// the runtime takes (marked *). `float8`: those alone that are of 8-bit floats. `rows`: those of vision and prefix alone, in
/// batches of so many.
void timeProducts(const cuda::DriverPtr& driver, const std::string& kernels, bool float8, const std::vector<int>& rows);

}  // namespace turbopi::check
