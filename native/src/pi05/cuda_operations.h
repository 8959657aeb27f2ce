#pragma once

#include <memory>
#include <string>

#include "cuda/kernels.h"
#include "kernels/arguments.h"
#include "pi05/cuda_weights.h"

namespace turbopi::pi05 {

template <typename T = void>
T* pointer(cuda::DevicePtr address) {
  return reinterpret_cast<T*>(address);
}

/// The kernel of Operations::copyRows; images of older builds lack it.
constexpr const char* kCopyRows = "copy_rows";

/// Hands out pieces of scratch memory, or, without memory, counts what is needed.
class Carver {
 public:
  explicit Carver(cuda::DevicePtr base = 0) : base_(base) {}
  cuda::DevicePtr take(size_t bytes) {
    const cuda::DevicePtr at = base_ + used_;
    used_ += cuda::aligned(bytes);
    return at;
  }
  size_t used() const noexcept { return used_; }

 private:
  cuda::DevicePtr base_;
  size_t used_ = 0;
};

/// The reference kernels by name, for one element type: what both the reference stages and the tuned ones put between
/// their large products.
class Operations {
 public:
  Operations(std::shared_ptr<const cuda::Kernels> kernels, ElementType element);

  /// Between elements of the model.
  void linear(const cuda::Stream& stream, const kernels::Linear& p) const { product(stream, element_, p); }
  /// From float32 activations on weights of the model's element type.
  void linearWide(const cuda::Stream& stream, const kernels::Linear& p) const;
  /// Between float32, for the small layers around the expert: no table, no residual.
  void linearThin(const cuda::Stream& stream, const kernels::Linear& p) const;
  void norm(const cuda::Stream& stream, const kernels::Norm& p) const;
  /// The same to float32.
  void normWide(const cuda::Stream& stream, const kernels::Norm& p) const;
  void rope(const cuda::Stream& stream, const kernels::Rope& p) const;
  void attention(const cuda::Stream& stream, const kernels::Attention& p) const;
  void patches(const cuda::Stream& stream, const kernels::Patches& p) const;
  void gather(const cuda::Stream& stream, const kernels::Gather& p) const;
  /// `count` rows of `matrices` matrices each.
  void copyRows(const cuda::Stream& stream, const kernels::RowCopies& p, int count, int64_t matrices) const;
  void gated(const cuda::Stream& stream, const kernels::Gated& p) const;
  void update(const cuda::Stream& stream, const kernels::Update& p) const;

  const cuda::Kernels& kernels() const noexcept { return *kernels_; }
  size_t elementBytes() const noexcept { return bytes_; }

 private:
  void product(const cuda::Stream& stream, const std::string& name, const kernels::Linear& p) const;
  void norm(const cuda::Stream& stream, const kernels::Norm& p, const std::string& suffix) const;

  std::shared_ptr<const cuda::Kernels> kernels_;
  std::string suffix_;
  std::string element_;
  size_t bytes_;
};

/// A product out[m, n] = a[m, k]·w[n, k]ᵀ with dense rows and nothing else; the caller adds what it needs.
kernels::Linear product(cuda::DevicePtr a, cuda::DevicePtr w, cuda::DevicePtr out, int64_t m, int64_t n, int64_t k,
                        kernels::Epilogue epilogue, cuda::DevicePtr bias = 0);

}  // namespace turbopi::pi05
