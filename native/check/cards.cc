#include "check/cards.h"

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <exception>
#include <mutex>
#include <thread>

namespace turbopi::check {
namespace {

/// Where threads wait until all of them, or one that failed, have come.
class Start {
 public:
  explicit Start(int expected) : missing_(expected) {}
  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (--missing_ <= 0) all_.notify_all();
    all_.wait(lock, [&] { return missing_ <= 0; });
  }
  /// Nobody waits any longer.
  void giveUp() {
    const std::lock_guard<std::mutex> lock(mutex_);
    missing_ = 0;
    all_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable all_;
  int missing_;
};

void append(std::vector<double>& to, const std::vector<double>& from) { to.insert(to.end(), from.begin(), from.end()); }

}  // namespace

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<size_t>(q * static_cast<double>(values.size())))];
}

void print(const char* name, const Times& t, int rows, int cards) {
  const double whole = quantile(t.all, 0.5);
  std::printf("time %-34s vision %6.3f prefix %6.3f denoise %6.3f | host wall median %6.3f p99 %6.3f max %6.3f | unlike %d"
              " | rows/s %.1f\n",
              name, quantile(t.vision, 0.5), quantile(t.prefix, 0.5), quantile(t.denoise, 0.5), whole, quantile(t.all, 0.99),
              quantile(t.all, 1), t.unlike, 1000 * rows * cards / whole);
  std::fflush(stdout);
}

Times timeCards(int cards, const TimeCard& time) {
  Start start(cards);
  std::vector<Times> times(static_cast<size_t>(cards));
  std::vector<std::exception_ptr> failures(static_cast<size_t>(cards));
  std::vector<std::thread> threads;
  for (int card = 0; card < cards; ++card)
    threads.emplace_back([&, card] {
      try {
        times[static_cast<size_t>(card)] = time(card, [&] { start.wait(); });
      } catch (...) {
        failures[static_cast<size_t>(card)] = std::current_exception();
        start.giveUp();
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& failure : failures)
    if (failure) std::rethrow_exception(failure);
  Times all;
  for (const Times& t : times) {
    append(all.vision, t.vision), append(all.prefix, t.prefix), append(all.denoise, t.denoise), append(all.all, t.all);
    all.unlike += t.unlike;
  }
  return all;
}

}  // namespace turbopi::check
