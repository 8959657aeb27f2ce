#pragma once

#include <cstdint>
#include <cstring>

namespace turbopi {

inline float floatFromBits(uint32_t bits) noexcept {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// bfloat16 is the upper half of a float32.
inline float floatFromBf16(uint16_t bits) noexcept { return floatFromBits(static_cast<uint32_t>(bits) << 16); }

/// IEEE binary16, subnormals, infinities and NaN included.
inline float floatFromFp16(uint16_t bits) noexcept {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0x1f) return floatFromBits(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return floatFromBits(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * floatFromBits(0x33800000u);  // × 2⁻²⁴
  return sign ? -magnitude : magnitude;
}

}  // namespace turbopi
