#pragma once

#include "pi05/cuda_operations.h"

namespace turbopi::pi05 {

/// A norm that first adds what the product before it left in parts.
struct PendingSum {
  cuda::DevicePtr partial = 0;
  int splits = 0;
  cuda::DevicePtr bias = 0;
  cuda::DevicePtr gate = 0;
};

inline kernels::Norm normAfter(const PendingSum& pending, cuda::DevicePtr x, cuda::DevicePtr out, int64_t rows,
                               int width, float epsilon, cuda::DevicePtr scale) {
  kernels::Norm p = {};
  p.x = pointer<float>(x);
  p.partial = pointer(pending.partial);
  p.partials = pending.splits;
  p.bias = pointer<float>(pending.bias);
  p.gate = pointer<float>(pending.gate);
  p.scale = pointer<float>(scale);
  p.out = pointer(out);
  p.rows = static_cast<int>(rows);
  p.width = width;
  p.epsilon = epsilon;
  return p;
}

}  // namespace turbopi::pi05
