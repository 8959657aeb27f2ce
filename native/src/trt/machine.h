#pragma once

#include <string>

#include "cuda/driver.h"
#include "trt/library.h"
#include "trt/plan_cache.h"

namespace turbopi::trt {

/// Adds what a plan depends on of this machine: TensorRT's full version, the GPU and the driver.
void addMachine(PlanKey& key, const Library& library, const cuda::Driver& driver, int device);

}  // namespace turbopi::trt
