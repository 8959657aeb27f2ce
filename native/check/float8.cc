#include "check/float8.h"

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "cuda/kernels.h"
#include "cuda/memory.h"

namespace turbopi::check {
namespace {

constexpr int kWidth = 1024;

float wide(uint16_t bits) {
  const uint32_t word = static_cast<uint32_t>(bits) << 16;
  float v;
  std::memcpy(&v, &word, 4);
  return v;
}

/// The nearest of all 8-bit floats, the even one of two (docs/reference/fp8.md): by search, not by bits.
uint8_t nearest(double v) {
  static const std::vector<double> values = [] {
    std::vector<double> all;
    for (int b = 0; b < 127; ++b)
      all.push_back(b < 8 ? b * std::exp2(-9) : (1 + (b & 7) / 8.0) * std::exp2((b >> 3) - 7));
    return all;
  }();
  const double magnitude = std::min(std::fabs(v), 448.0);
  int best = 0;
  for (int b = 1; b < 127; ++b) {
    const double own = std::fabs(values[static_cast<size_t>(b)] - magnitude);
    const double least = std::fabs(values[static_cast<size_t>(best)] - magnitude);
    if (own < least || (own == least && b % 2 == 0)) best = b;
  }
  return static_cast<uint8_t>(best | (std::signbit(v) ? 0x80 : 0));
}

double scaleOf(const uint16_t* row) {
  double largest = std::exp2(-100);
  for (int i = 0; i < kWidth; ++i) largest = std::max(largest, std::fabs(static_cast<double>(wide(row[i]))));
  const double floor = std::exp2(std::floor(std::log2(largest)));
  return (largest < 1.5 * floor ? floor : 2 * floor) / 256;
}

/// Every bf16 number below 384 with a scale of 1; rows of all sizes; a row of zeros.
std::vector<uint16_t> rows() {
  std::vector<uint16_t> all;
  const auto next = [&](uint16_t bits) { all.push_back(bits); };
  int in = 0;
  for (int bits = 0; bits < 65536; ++bits) {
    if (!(std::fabs(wide(static_cast<uint16_t>(bits))) < 384)) continue;
    if (in == 0) next(0x4380);  // 256
    next(static_cast<uint16_t>(bits));
    in = (in + 1) % (kWidth - 1);
  }
  while (all.size() % kWidth != 0) next(0);
  uint32_t state = 1;
  for (int row = 0; row < 64; ++row)
    for (int i = 0; i < kWidth; ++i) {
      state = state * 1664525u + 1013904223u;
      // Signs and fractions at random, exponents below the row's own.
      const int exponent = 40 + row * 3 - static_cast<int>(state >> 28);
      next(static_cast<uint16_t>((state & 0x8000) | static_cast<uint32_t>(exponent) << 7 | (state >> 16 & 0x7f)));
    }
  all.resize(all.size() + kWidth, 0);
  return all;
}

}  // namespace

int checkFloat8(const cuda::DriverPtr& driver, const std::string& path) {
  const cuda::Kernels kernels(driver, 0, path);
  const cuda::Stream stream(driver, cuda::Stream::Priority::kNormal);
  const std::vector<uint16_t> in = rows();
  const size_t count = in.size() / kWidth;
  const cuda::PinnedBuffer host(driver, in.size() * 2), bytes(driver, in.size()), scales(driver, count * 4),
      rounded(driver, in.size() * 2), kept(driver, count * 4);
  std::memcpy(host.as<char>(), in.data(), in.size() * 2);
  const cuda::DeviceBuffer from(driver, in.size() * 2), to(driver, in.size()), toScales(driver, count * 4),
      keptScales(driver, count * 4);
  stream.upload(from.address(), host.as<char>(), in.size() * 2);
  cuda::LaunchShape shape;
  shape.gridX = static_cast<unsigned>(count);
  kernels.launch(stream, "float8_rows", shape, from.address(), to.address(), toScales.address(), kWidth);
  kernels.launch(stream, "float8_round_rows", shape, from.address(), kWidth, keptScales.address());
  stream.download(bytes.as<char>(), to.address(), in.size());
  stream.download(scales.as<char>(), toScales.address(), count * 4);
  stream.download(rounded.as<char>(), from.address(), in.size() * 2);
  stream.download(kept.as<char>(), keptScales.address(), count * 4);
  stream.synchronize();
  size_t unlike = 0;
  for (size_t r = 0; r < count; ++r) {
    const double scale = scaleOf(in.data() + r * kWidth);
    if (static_cast<double>(scales.as<float>()[r]) != scale || static_cast<double>(kept.as<float>()[r]) != scale) ++unlike;
    for (size_t i = r * kWidth; i < (r + 1) * kWidth; ++i) {
      const uint8_t expected = nearest(static_cast<double>(wide(in[i])) / scale);
      const int magnitude = expected & 0x7f;
      const double value = (magnitude < 8 ? magnitude * std::exp2(-9)
                                          : (1 + (magnitude & 7) / 8.0) * std::exp2((magnitude >> 3) - 7)) *
                           (expected & 0x80 ? -1 : 1) * scale;
      if (bytes.as<uint8_t>()[i] != expected) ++unlike;
      if (static_cast<double>(wide(rounded.as<uint16_t>()[i])) != value) ++unlike;
    }
  }
  std::printf("%s rounding to 8-bit floats: %zu of %zu numbers in %zu rows are not by the definition\n",
              unlike == 0 ? "same bits" : "FAIL", unlike, in.size(), count);
  return unlike == 0 ? 0 : 1;
}

}  // namespace turbopi::check
