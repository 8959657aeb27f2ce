#pragma once

#include <functional>
#include <vector>

namespace turbopi::check {

/// Milliseconds of each call: by events on the GPU, and `all` by the host's clock.
struct Times {
  std::vector<double> vision, prefix, denoise, all;
  /// Answers with other bits than the first one's.
  int unlike = 0;
};

/// The value below which a share of `q` of them lies.
double quantile(std::vector<double> values, double q);

/// Prints what a call of `rows` rows takes; with `cards` at once, the calls of all of them.
void print(const char* name, const Times& times, int rows, int cards = 1);

/// Opens card `card` and times calls on it; calls `ready` before the first one that counts.
using TimeCard = std::function<Times(int card, const std::function<void()>& ready)>;

/// Runs `time` on the first `cards` cards at once, a thread each, none of which begins before all are ready.
Times timeCards(int cards, const TimeCard& time);

}  // namespace turbopi::check
