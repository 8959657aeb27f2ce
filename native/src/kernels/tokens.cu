#include "common.cuh"

/// What enters the transformers and leaves them: patches of pixels, prefix rows, gated activations, the sampler's step.
namespace turbopi::kernels {

template <typename T>
__device__ __forceinline__ void patches(const Patches& p) {
  letLaterStart();
  awaitEarlier();
  const int side = p.imageSize / p.patch;
  const int pixels = p.patch * p.patch;
  const long long index = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int k = index % p.patchStride;
  const long long token = index / p.patchStride;
  if (token >= static_cast<long long>(p.images) * side * side) return;
  float v = 0;
  if (k < 3 * pixels) {
    const int channel = k / pixels;
    const int y = token / side % side * p.patch + k % pixels / p.patch;
    const int x = token % side * p.patch + k % p.patch;
    const long long image = token / (side * side);
    v = p.pixels[((image * p.imageSize + y) * p.imageSize + x) * 3 + channel] - 127.5f;
  }
  static_cast<T*>(p.out)[index] = narrow<T>(v);
}

template <typename T>
__device__ __forceinline__ void gather(const Gather& p) {
  letLaterStart();
  awaitEarlier();
  const long long source = p.source[blockIdx.x];
  const bool image = source < p.imageRows;
  const T* from = image ? static_cast<const T*>(p.embeddings) + source * p.width
                        : static_cast<const T*>(p.table) + p.tokens[source - p.imageRows] * p.width;
  const float factor = image ? 1.0f : p.scale;
  float* x = p.x + static_cast<long long>(blockIdx.x) * p.width;
  for (int i = threadIdx.x; i < p.width; i += blockDim.x) x[i] = wide(from[i]) * factor;
}

template <typename T>
__device__ __forceinline__ void gated(const Gated& p) {
  letLaterStart();
  awaitEarlier();
  const long long index = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= static_cast<long long>(p.rows) * p.width) return;
  const T* from = static_cast<const T*>(p.in) + index / p.width * 2 * p.width + index % p.width;
  static_cast<T*>(p.out)[index] = narrow<T>(gelu(wide(from[0])) * wide(from[p.width]));
}

__device__ __forceinline__ void update(const Update& p) {
  letLaterStart();
  awaitEarlier();
  const int index = blockIdx.x * blockDim.x + threadIdx.x;
  const int chunk = p.horizon * p.actionDim;
  if (index >= p.batch * chunk) return;
  const int row = index / chunk * p.suffix + p.offset + index % chunk / p.actionDim;
  const float v = p.v[row * p.actionDim + index % p.actionDim];
  const float* factor = p.factors + index / p.actionDim * 3;
  p.velocity[index] = v;
  p.next[index] = factor[0] * p.x[index] + factor[1] * v + factor[2] * p.target[index];
}

/// A checkpoint's elements in the type that the kernels take; `count` elements.
template <typename From, typename To>
__device__ __forceinline__ void convert(const void* from, void* to, long long count) {
  awaitEarlier();
  for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += static_cast<long long>(gridDim.x) * blockDim.x)
    static_cast<To*>(to)[i] = narrow<To>(wide(static_cast<const From*>(from)[i]));
}

}  // namespace turbopi::kernels

using namespace turbopi::kernels;

extern "C" __global__ void patches_f32(const Patches p) { patches<float>(p); }
extern "C" __global__ void patches_bf16(const Patches p) { patches<bf16>(p); }
extern "C" __global__ void gather_f32(const Gather p) { gather<float>(p); }
extern "C" __global__ void gather_bf16(const Gather p) { gather<bf16>(p); }
extern "C" __global__ void gated_f32(const Gated p) { gated<float>(p); }
extern "C" __global__ void gated_bf16(const Gated p) { gated<bf16>(p); }
extern "C" __global__ void update_actions(const Update p) { update(p); }

#define TURBO_PI_CONVERT(from, From, to, To)                                                                   \
  extern "C" __global__ void convert_##from##_##to(const void* source, void* target, long long count) {        \
    convert<From, To>(source, target, count);                                                                  \
  }
TURBO_PI_CONVERT(f32, float, f32, float)
TURBO_PI_CONVERT(f32, float, bf16, bf16)
TURBO_PI_CONVERT(bf16, bf16, f32, float)
TURBO_PI_CONVERT(bf16, bf16, bf16, bf16)
TURBO_PI_CONVERT(f16, __half, f32, float)
TURBO_PI_CONVERT(f16, __half, bf16, bf16)

/// Uniform numbers within ±limit from a hash of seed and index: weights for measuring.
extern "C" __global__ void fill_random_bf16(bf16* to, long long count, unsigned seed, float limit) {
  awaitEarlier();
  for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += static_cast<long long>(gridDim.x) * blockDim.x) {
    unsigned h = static_cast<unsigned>(i) * 2654435761u ^ seed * 0x9e3779b9u ^ static_cast<unsigned>(i >> 32);
    h ^= h >> 16, h *= 0x85ebca6bu, h ^= h >> 13, h *= 0xc2b2ae35u, h ^= h >> 16;
    to[i] = narrow<bf16>((static_cast<float>(h) * (2.0f / 4294967296.0f) - 1.0f) * limit);
  }
}
