#pragma once

#include <string>

#include "cuda/driver.h"

namespace turbopi::check {

/// The kernels that round rows to 8-bit floats against their definition, bit by bit: the number of failures.
int checkFloat8(const cuda::DriverPtr& driver, const std::string& kernels);

}  // namespace turbopi::check
