#pragma once

#include <array>
#include <functional>
#include <list>
#include <memory>
#include <utility>

#include "base/error.h"
#include "cuda/graph.h"
#include "pi05/stage.h"

namespace turbopi::pi05 {

/// The captured graphs of one lane, the least recently used going first when there are too many. Each graph owns the
/// stage it was captured from: nothing else ever changes that stage's shapes or addresses.
class ReplayCache {
 public:
  /// Kind of graph, slot, batch, shapes, steps: whatever fixes the captured work.
  using Key = std::array<int64_t, 6>;

  explicit ReplayCache(size_t most) : most_(most) {}

  /// The graph under `key`. A missing one is made: its stage runs once outside the graph, so that lazy set-up is done
  /// and the capture sees kernels alone, then `steps` steps are captured. Where there is no
  /// memory for it the others are given up.
  const cuda::GraphExec& get(const Key& key, const cuda::Stream& stream, int steps,
                             const std::function<std::unique_ptr<Stage>()>& make) {
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
      if (entry->key != key) continue;
      entries_.splice(entries_.begin(), entries_, entry);
      return entries_.front().graph;
    }
    if (entries_.size() >= most_) {
      stream.synchronize();
      entries_.pop_back();
    }
    try {
      entries_.push_front(captured(key, stream, steps, make));
    } catch (const OutOfMemory&) {
      // The others take memory that this one needs.
      if (entries_.empty()) throw;
      stream.synchronize();
      entries_.clear();
      entries_.push_front(captured(key, stream, steps, make));
    }
    return entries_.front().graph;
  }

  size_t size() const noexcept { return entries_.size(); }

 private:
  struct Entry {
    Key key;
    std::unique_ptr<Stage> stage;
    cuda::GraphExec graph;
  };

  static Entry captured(const Key& key, const cuda::Stream& stream, int steps,
                        const std::function<std::unique_ptr<Stage>()>& make) {
    std::unique_ptr<Stage> stage = make();
    try {
      stage->enqueue(stream, 0);
      cuda::GraphExec graph = cuda::GraphExec::capture(stream, [&] {
        for (int step = 0; step < steps; ++step) stage->enqueue(stream, step);
      });
      return Entry{key, std::move(stage), std::move(graph)};
    } catch (...) {
      // A stage must outlive its work in the stream.
      stream.driver()->release(stream.driver()->streamSynchronize(stream.raw()));
      throw;
    }
  }

  size_t most_;
  std::list<Entry> entries_;
};

}  // namespace turbopi::pi05
