#include "check/again.h"

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "check/unlike.h"

namespace turbopi::check {
namespace {

constexpr int kMostPrinted = 5;

double secondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

int checkAgain(pi05::Session& clean, pi05::Session& poisoned, const std::vector<Frame>& frames, int seconds) {
  std::vector<pi05::Trace> expected;
  for (const Frame& frame : frames) expected.push_back(clean.trace(0, frame.perceive, frame.act));
  int failed = 0, round = 0;
  const auto start = std::chrono::steady_clock::now();
  try {
    for (; secondsSince(start) < seconds; ++round) {
      const size_t i = static_cast<size_t>(round) % frames.size();
      const std::string other = unlike(expected[i], poisoned.trace(0, frames[i].perceive, frames[i].act));
      if (other.empty() || ++failed > kMostPrinted) continue;
      std::printf("FAIL round %d, %lld rows: %s\n", round, static_cast<long long>(frames[i].perceive.batch), other.c_str());
    }
  } catch (const std::exception& error) {
    ++failed;
    std::printf("FAIL round %d: %s\n", round, error.what());
  }
  std::printf("%s again: %d rounds, %d failed\n", failed == 0 ? "ok  " : "FAIL", round, failed);
  std::fflush(stdout);
  return failed;
}

int inProcesses(int count, const std::function<int()>& work) {
  for (int i = 0; i < count; ++i) {
    const pid_t child = fork();
    require(child >= 0, "no further process can be started");
    if (child == 0) std::exit(work() == 0 ? 0 : 1);
  }
  int failed = 0;
  for (int i = 0; i < count; ++i) {
    int status = 0;
    require(wait(&status) > 0, "a process is gone");
    if (status != 0) ++failed;
  }
  return failed;
}

}  // namespace turbopi::check
