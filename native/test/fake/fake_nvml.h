#pragma once

#include <cstddef>

/// The controls of the stand-in libnvidia-ml.so.1: two cards, at 0000:1b:00.0 and 0000:3d:00.0, of which a test says
/// what they tell. Environment: FAKE_NVML_INIT is the code that nvmlInit returns, FAKE_NVML_DELAY_MS how long asking
/// for the utilisation takes.
struct FakeNvmlCard {
  unsigned gpu = 37;
  unsigned memory = 12;
  unsigned long long total = 85899345920;
  unsigned long long used = 4294967296;
  unsigned celsius = 64;
  unsigned milliwatts = 412500;
  unsigned long long clockReasons = 0;
  unsigned long long corrected = 3;
  unsigned long long uncorrected = 0;
  /// Processes with the numbers 1000, 1001, …
  size_t processes = 1;
};

extern "C" {
FakeNvmlCard* fakeNvmlCard(int index);
/// Every call of `function` returns `code` from now on; 0 heals.
void fakeNvmlFail(const char* function, int code);
}
