// Kernels that stand in for the three engines: the toy model of test/toy_model.h, and loads that take as long as the
// engines do. Compiled to PTX, so that one build serves every GPU.

#include <cstdint>

namespace {

__device__ int64_t firstIndex() { return blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; }
__device__ int64_t stride() { return gridDim.x * static_cast<int64_t>(blockDim.x); }

__device__ uint64_t now() {
  uint64_t time;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(time));
  return time;
}

}  // namespace

extern "C" {

__global__ void toy_vision(const uint8_t* pixels, float* out, int64_t images, int64_t tokens, int64_t width,
                           int64_t imageBytes, float scale) {
  const int64_t perImage = tokens * width;
  for (int64_t i = firstIndex(); i < images * perImage; i += stride()) {
    const uint8_t* image = pixels + i / perImage * imageBytes;
    const int64_t pair = i % perImage % (imageBytes / 2);
    out[i] = static_cast<float>(image[2 * pair] + 256 * image[2 * pair + 1]) + scale * static_cast<float>(i % width);
  }
}

__global__ void toy_cache(const float* embeddings, const int64_t* tokens, const int64_t* source, float* out,
                          int64_t imagePlaces, int64_t batch, int64_t heads, int64_t prefix, int64_t headDim,
                          int64_t width, float shift) {
  for (int64_t i = firstIndex(); i < batch * heads * prefix * headDim; i += stride()) {
    const int64_t column = i % headDim;
    const int64_t place = i / headDim % prefix;
    const int64_t row = i / (headDim * prefix * heads);
    const int64_t from = source[row * prefix + place];
    const float feature =
        from < imagePlaces ? embeddings[from * width + column % width] : static_cast<float>(tokens[from - imagePlaces]);
    out[i] = feature + shift;
  }
}

// One block a row adds one layer's first columns to the row's sum; layer 0 starts the sum.
__global__ void toy_sum(const float* keys, const float* values, const int64_t* lengths, double* sums, int64_t heads,
                        int64_t prefix, int64_t headDim, int first) {
  __shared__ double parts[256];
  const int64_t row = blockIdx.x;
  double part = 0;
  for (int64_t place = threadIdx.x; place < lengths[row]; place += blockDim.x) {
    const int64_t at = (row * heads * prefix + place) * headDim;
    part += static_cast<double>(keys[at]) + static_cast<double>(values[at]);
  }
  parts[threadIdx.x] = part;
  __syncthreads();
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) sums[row] = (first ? 0.0 : sums[row]) + parts[0];
}

__global__ void toy_denoise(const float* x, const float* modulation, const float* update, const float* target,
                            const int64_t* lengths, const double* sums, float* next, float* velocity, int64_t batch,
                            int64_t perRow, int64_t actionDim, int64_t modulations, int64_t layers) {
  for (int64_t i = firstIndex(); i < batch * perRow; i += stride()) {
    const int64_t row = i / perRow;
    const float mean = static_cast<float>(sums[row] / static_cast<double>(2 * layers * lengths[row]));
    const float v = 0.5f * x[i] + modulation[i % perRow % modulations] + mean / 256.0f;
    velocity[i] = v;
    const float* factors = update + 3 * (i / actionDim);
    next[i] = factors[0] * x[i] + factors[1] * v + factors[2] * target[i];
  }
}

// Waits on one multiprocessor: a load that leaves the rest of the GPU to the other lane.
__global__ void load_wait(uint64_t nanoseconds) {
  const uint64_t start = now();
  while (now() - start < nanoseconds) {
  }
}

// Keeps every multiprocessor's arithmetic busy, as vision and prefix do.
__global__ void load_arithmetic(float* sink, int64_t rounds) {
  float a = 1.0f + threadIdx.x;
  float b = 0.5f;
  for (int64_t i = 0; i < rounds; ++i) {
    a = a * 1.000001f + b;
    b = b * 0.999999f + a * 1e-9f;
  }
  if (a == 0.123456f) *sink = a + b;
}

// Reads weights once, as a denoise step does; four words are on their way at a time.
__global__ void load_read(const uint4* weights, int64_t count, unsigned* sink) {
  unsigned folded = 0;
  const int64_t step = stride();
  int64_t i = firstIndex();
  for (; i + 3 * step < count; i += 4 * step) {
    const uint4 a = weights[i];
    const uint4 b = weights[i + step];
    const uint4 c = weights[i + 2 * step];
    const uint4 d = weights[i + 3 * step];
    folded ^= a.x ^ a.y ^ a.z ^ a.w ^ b.x ^ b.y ^ b.z ^ b.w ^ c.x ^ c.y ^ c.z ^ c.w ^ d.x ^ d.y ^ d.z ^ d.w;
  }
  for (; i < count; i += step) folded ^= weights[i].x;
  if (folded == 0x12345678u) *sink = folded;
}

__global__ void copy(const uint4* from, uint4* to, int64_t count) {
  const int64_t step = stride();
  int64_t i = firstIndex();
  for (; i + 3 * step < count; i += 4 * step) {
    const uint4 a = from[i];
    const uint4 b = from[i + step];
    const uint4 c = from[i + 2 * step];
    const uint4 d = from[i + 3 * step];
    to[i] = a;
    to[i + step] = b;
    to[i + 2 * step] = c;
    to[i + 3 * step] = d;
  }
  for (; i < count; i += step) to[i] = from[i];
}

// Writes the time into a ring; the lowest bit of an entry says whether an act started (0) or ended (1) there.
__global__ void stamp(uint64_t* ring, unsigned* counter, unsigned capacity, unsigned kind) {
  ring[(*counter)++ % capacity] = now() << 1 | kind;
}

__global__ void fill_random(uint16_t* out, int64_t count, unsigned seed) {
  for (int64_t i = firstIndex(); i < count; i += stride()) {
    uint32_t h = static_cast<uint32_t>(i) * 2654435761u + seed;
    h ^= h >> 15;
    h *= 2246822519u;
    h ^= h >> 13;
    // bfloat16 between -1 and 1: the upper half of a float in ±[0.5, 1).
    out[i] = static_cast<uint16_t>((h & 0x8000u) | 0x3f00u | (h & 0x7fu));
  }
}

}  // extern "C"
