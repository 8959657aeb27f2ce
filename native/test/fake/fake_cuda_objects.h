#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cuda/driver_api.h"

using namespace turbopi::cuda;

/// A card's primary context.
struct CUctx_st {
  int holders = 0;
  bool active = false;
  /// What was made in it, and how each goes.
  std::map<RawStream, std::function<void()>> streams;
  std::map<void*, std::function<void()>> others;
};

/// What the stand-in driver is made of: its state, and the objects behind CUDA's handles. See fake_cuda.h.
namespace fake {

using Clock = std::chrono::steady_clock;
using Op = std::function<void()>;

constexpr Result kInvalidValue = 1;
constexpr Result kNotSupported = 801;
constexpr Result kCaptureUnsupported = 900;
constexpr Result kCaptureInvalidated = 901;

inline int environment(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoi(text);
}

struct State {
  std::mutex mutex;
  std::string log;
  std::string shown;
  std::map<std::string, std::pair<int, int>> faults;
  int broken = 0;
  int live = 0;
  int delay = environment("FAKE_CUDA_DELAY_US", 0);
  int capturing = 0;
  int nextName = 0;
  /// By card.
  std::map<DeviceId, CUctx_st> contexts;
};

/// Never destroyed: streams may still be at work when the process leaves.
inline State& state() {
  static State* const made = new State;
  return *made;
}

inline void note(const std::string& line) {
  const std::lock_guard<std::mutex> lock(state().mutex);
  if (state().log.size() < (1u << 22)) state().log += line + "\n";
}

/// Notes the call and says what it must return before doing anything.
inline Result enter(const char* function, const std::string& detail = {}) {
  note(detail.empty() ? function : std::string(function) + " " + detail);
  const std::lock_guard<std::mutex> lock(state().mutex);
  const auto fault = state().faults.find(function);
  if (fault != state().faults.end() && fault->second.first-- == 0) {
    const int code = fault->second.second;
    state().faults.erase(fault);
    return code;
  }
  return state().broken;
}

inline void count(int change) {
  const std::lock_guard<std::mutex> lock(state().mutex);
  state().live += change;
}

inline bool broken() {
  const std::lock_guard<std::mutex> lock(state().mutex);
  return state().broken != 0;
}

inline std::string named(const char* kind) {
  const std::lock_guard<std::mutex> lock(state().mutex);
  return kind + std::to_string(state().nextName++);
}

}  // namespace fake

struct CUevent_st {
  std::string name = fake::named("event");
  std::mutex mutex;
  std::condition_variable changed;
  unsigned long recorded = 0;
  unsigned long completed = 0;
  fake::Clock::time_point at;

  void complete(unsigned long number) {
    const std::lock_guard<std::mutex> lock(mutex);
    completed = std::max(completed, number);
    at = fake::Clock::now();
    changed.notify_all();
  }
  /// A broken device never gets there, so the wait looks up now and then.
  void await(unsigned long number) {
    std::unique_lock<std::mutex> lock(mutex);
    while (!changed.wait_for(lock, std::chrono::milliseconds(1), [&] { return completed >= number; }) &&
           !fake::broken()) {
    }
  }
};
using EventPtr = std::shared_ptr<CUevent_st>;

struct CUgraph_st {
  std::vector<fake::Op> ops;
};
struct CUgraphExec_st {
  std::shared_ptr<std::vector<fake::Op>> ops;
};

struct CUstream_st {
  std::string name = fake::named("stream");
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<fake::Op> ops;
  bool busy = false;
  bool ending = false;
  std::unique_ptr<CUgraph_st> capture;
  bool invalidated = false;
  std::thread thread{[this] { work(); }};

  void work() {
    std::unique_lock<std::mutex> lock(mutex);
    for (;;) {
      changed.wait(lock, [&] { return ending || !ops.empty(); });
      if (ops.empty()) return;
      const fake::Op op = std::move(ops.front());
      ops.pop_front();
      busy = true;
      lock.unlock();
      int delay;
      {
        const std::lock_guard<std::mutex> hold(fake::state().mutex);
        delay = fake::state().delay;
      }
      if (delay > 0) std::this_thread::sleep_for(std::chrono::microseconds(delay));
      if (!fake::broken()) op();
      lock.lock();
      busy = false;
      changed.notify_all();
    }
  }
  void push(fake::Op op) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (capture) {
      capture->ops.push_back(std::move(op));
    } else {
      ops.push_back(std::move(op));
      changed.notify_all();
    }
  }
  void drain() {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return ops.empty() && !busy; });
  }
};

namespace fake {

/// Events are shared with ops that are still queued when the program destroys them.
inline std::mutex eventsMutex;
inline std::map<RawEvent, EventPtr>& events() {
  static auto* const made = new std::map<RawEvent, EventPtr>;
  return *made;
}
inline EventPtr shared(RawEvent event) {
  const std::lock_guard<std::mutex> lock(eventsMutex);
  const auto found = events().find(event);
  return found == events().end() ? nullptr : found->second;
}

/// The context of the calling thread, by its card.
inline thread_local DeviceId currentCard = 0;

template <typename Handle>
void made(std::map<Handle, std::function<void()>> CUctx_st::* kind, Handle handle, std::function<void()> destroy) {
  const std::lock_guard<std::mutex> lock(state().mutex);
  (state().contexts[currentCard].*kind)[handle] = std::move(destroy);
  ++state().live;
}

/// Takes what was made out of its context, and destroys it. Of a context that is gone a driver would do anything.
template <typename Handle>
void destroyed(std::map<Handle, std::function<void()>> CUctx_st::* kind, Handle handle) {
  std::function<void()> destroy;
  {
    const std::lock_guard<std::mutex> lock(state().mutex);
    for (auto& [card, context] : state().contexts) {
      const auto found = (context.*kind).find(handle);
      if (found == (context.*kind).end()) continue;
      destroy = std::move(found->second);
      (context.*kind).erase(found);
      break;
    }
  }
  if (!destroy) {
    std::fprintf(stderr, "a handle was destroyed that is of no context\n");
    std::abort();
  }
  destroy();
  count(-1);
}

}  // namespace fake
