#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pi05/replay_cache.h"
#include "pi05/stage.h"

namespace turbopi::pi05 {

struct SessionOptions {
  /// 1: vision, prefix and denoise in one stream. 2: perceive and act in streams of their own.
  int lanes = 2;
  /// Prefixes that can be held at once.
  int slots = 2;
  /// Captured graphs kept a lane.
  size_t graphs = 48;
};

/// Device memory of a session beside its stages' scratch.
struct SessionBytes {
  size_t inputs = 0;
  /// Of one slot.
  size_t slot = 0;
};
SessionBytes sessionBytes(const ModelShape& shape);

struct PerceiveInput {
  int64_t batch = 0;
  int64_t images = 0;
  int64_t prefixLength = 0;
  /// [images, imageSize, imageSize, 3].
  std::vector<uint8_t> pixels;
  /// [batch × a token bucket].
  std::vector<int64_t> tokens;
  /// [batch, prefixLength]: places in the image embeddings followed by the tokens.
  std::vector<int64_t> source;
  /// [batch], 1…prefixLength.
  std::vector<int64_t> lengths;
};

struct ActInput {
  int64_t batch = 0;
  int steps = 0;
  /// [batch, horizon, actionDim].
  std::vector<float> noise;
  /// [steps, batch, horizon, 3]: factors of x, velocity and target, whose sum is the next x.
  std::vector<float> updates;
  /// [batch, horizon, actionDim].
  std::vector<float> targets;
  /// [batch, actionDim] where the model takes a state, else empty.
  std::vector<float> state;
};

struct PerceiveResult {
  float visionMs = 0;
  float prefixMs = 0;
};

struct ActResult {
  float denoiseMs = 0;
  /// [batch, horizon, actionDim].
  std::vector<float> actions;
};

/// Every intermediate tensor of one batch, as float32.
struct Trace {
  std::vector<float> imageEmbeddings;
  std::vector<std::vector<float>> keys;
  std::vector<std::vector<float>> values;
  std::vector<std::vector<float>> x;
  std::vector<std::vector<float>> velocity;
  ActResult act;
};

/// Vision, prefix and denoise of one model on one GPU, with their buffers, slots, streams and captured graphs.
/// start… puts work into a stream and returns; …Done asks whether it has ended; finish… reads the result. A slot takes
/// one perceive and one act at a time. The streams are ordered by events: an act waits for its slot's keys and values,
/// a perceive for the last act that reads what it will overwrite. All calls come from one thread, with the context
/// current.
class Session {
 public:
  Session(const cuda::DriverPtr& driver, std::unique_ptr<StageMaker> stages, const SessionOptions& options);
  /// Waits for work in flight.
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const ModelShape& shape() const { return stages_->shape(); }
  const SessionOptions& options() const noexcept { return options_; }

  /// Where the end of each job is announced; called on a driver thread.
  void onDone(cuda::HostFunction wake, void* userData);

  /// Uploads the constants of one step count, [modulations, modulation]: a row a step, then that of given rows.
  void setModulation(int steps, const std::vector<float>& table);

  void startPerceive(int slot, const PerceiveInput& input);
  bool perceiveDone(int slot) const;
  PerceiveResult finishPerceive(int slot);

  void startAct(int slot, const ActInput& input);
  bool actDone(int slot) const;
  ActResult finishAct(int slot);

  /// Waits for what is under way in the streams: after a start… that threw, before the slot is used again. Throws Error.
  void settle();

  /// Runs one batch step by step, without captured graphs, and keeps everything. Only while nothing is in flight.
  Trace trace(int slot, const PerceiveInput& perceive, const ActInput& act);

 private:
  struct Slot;
  struct StepTable;
  void uploadRows(const StepTable& made, int64_t rows, const std::vector<float>& table);
  void makeRows(const StepTable& made, int64_t rows, const std::vector<float>& table);

  Slot& slotAt(int slot);
  const Slot& slotAt(int slot) const;
  const cuda::Stream& perceiveStream() const { return *streams_.front(); }
  const cuda::Stream& actStream() const { return *streams_.back(); }
  void announce(const cuda::Stream& bell, const cuda::Event& end) const;
  Scratch perceiveScratch() const;
  Scratch actScratch() const;
  void check(const PerceiveInput& input) const;
  /// `held`: rows of the prefix that is denoised from.
  void check(int64_t held, const ActInput& input) const;
  void uploadPerceive(Slot& slot, const PerceiveInput& input);
  void uploadAct(Slot& slot, const ActInput& input);
  VisionCall visionCall(int64_t images) const;
  PrefixCall prefixCall(const Slot& slot, const PerceiveInput& input) const;
  DenoiseCall denoiseCall(const Slot& slot, int steps) const;
  std::vector<float> read(const cuda::Stream& stream, cuda::DevicePtr from, int64_t elements, ElementType type) const;

  cuda::DriverPtr driver_;
  SessionOptions options_;
  std::unique_ptr<StageMaker> stages_;
  std::optional<cuda::DeviceArena> arena_;
  std::vector<std::unique_ptr<cuda::DeviceBuffer>> scratch_;
  cuda::DevicePtr pixels_ = 0;
  cuda::DevicePtr embeddings_ = 0;
  cuda::DevicePtr tokens_ = 0;
  cuda::DevicePtr source_ = 0;
  cuda::DevicePtr x_[2] = {0, 0};
  cuda::DevicePtr velocity_ = 0;
  cuda::DevicePtr updates_ = 0;
  size_t updateStride_ = 0;
  cuda::DevicePtr target_ = 0;
  cuda::DevicePtr state_ = 0;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::map<int, std::unique_ptr<StepTable>> tables_;
  ReplayCache perceiveGraphs_;
  ReplayCache actGraphs_;
  cuda::HostFunction wake_ = nullptr;
  void* wakeData_ = nullptr;
  // Last, so that it goes first: work in flight ends before anything it uses is freed.
  std::vector<std::unique_ptr<cuda::Stream>> streams_;
  // A host callback holds up the stream it is in, so each lane has one beside it for them.
  std::vector<std::unique_ptr<cuda::Stream>> bells_;
};

}  // namespace turbopi::pi05
