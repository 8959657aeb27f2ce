#include "check/lanes.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

namespace turbopi::check {
namespace {

struct Run {
  /// Of each frame, in the first round in which it was answered.
  std::vector<std::vector<float>> actions;
  /// Answers that differ from `actions`.
  int unlike = 0;
  /// A frame, by the host's clock, and on the GPU by events: with two lanes the second holds what lay side by side twice.
  double wallMs = 0, gpuMs = 0;
};

/// `act` holds one frame's noise: each frame has its own actions by its own pictures alone.
Run play(pi05::Session& session, const std::vector<pi05::PerceiveInput>& frames, const pi05::ActInput& act, int rounds) {
  Run run;
  run.actions.resize(frames.size());
  const int slots = session.options().slots;
  const auto finish = [&](int frame) {
    while (!session.actDone()) {
    }
    const pi05::ActResult result = session.finishAct();
    run.gpuMs += static_cast<double>(result.denoiseMs);
    std::vector<float>& first = run.actions[static_cast<size_t>(frame) % frames.size()];
    if (first.empty()) first = result.actions;
    if (first != result.actions) ++run.unlike;
  };
  const auto start = std::chrono::steady_clock::now();
  for (int frame = 0; frame < rounds; ++frame) {
    const int slot = frame % slots;
    if (frame >= slots) finish(frame - slots);
    session.startPerceive(slot, frames[static_cast<size_t>(frame) % frames.size()]);
    while (!session.perceiveDone(slot)) {
    }
    const pi05::PerceiveResult seen = session.finishPerceive(slot);
    run.gpuMs += static_cast<double>(seen.visionMs + seen.prefixMs);
    session.startAct(pi05::wholeSlot(slot, frames.front().batch), act);
  }
  for (int frame = std::max(0, rounds - slots); frame < rounds; ++frame) finish(frame);
  run.wallMs = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count() / rounds;
  run.gpuMs /= rounds;
  return run;
}

Run measured(const OpenLanes& open, int lanes, const std::vector<pi05::PerceiveInput>& frames, const pi05::ActInput& act,
             int rounds) {
  const auto session = open(lanes);
  play(*session, frames, act, static_cast<int>(frames.size()));
  return play(*session, frames, act, rounds);
}

}  // namespace

int checkLanes(const OpenLanes& open, const std::vector<pi05::PerceiveInput>& frames, const pi05::ActInput& act, int rounds) {
  const Run one = measured(open, 1, frames, act, rounds);
  const Run two = measured(open, 2, frames, act, rounds);
  int unlike = one.unlike + two.unlike;
  for (size_t i = 0; i < frames.size(); ++i) unlike += one.actions[i] != two.actions[i] ? 1 : 0;
  const bool overlap = two.gpuMs > two.wallMs;
  const auto rows = static_cast<double>(frames.front().batch);
  std::printf("lanes, %.0f a frame: one %.3f ms a frame (%.3f on the GPU), two %.3f (%.3f), %.3f ms of it beside the other lane; rows/s %.1f, "
              "%.1f; unlike %d\n",
              rows, one.wallMs, one.gpuMs, two.wallMs, two.gpuMs, two.gpuMs - two.wallMs, rows * 1e3 / one.wallMs,
              rows * 1e3 / two.wallMs, unlike);
  std::printf("%s two lanes\n", unlike == 0 && overlap ? "ok  " : "FAIL");
  return unlike + (overlap ? 0 : 1);
}

}  // namespace turbopi::check
