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
  /// Batches whose prefix can be held at once, up to 8.
  int slots = 2;
  /// Captured graphs kept a lane: one for each slot, number of rows and length of prefix that is in use.
  size_t graphs = 256;
  /// Rows that can be kept beyond their slots; more than 0 only where the shape says `joins`.
  int kept = 0;
};

/// Device memory of a session beside its stages' scratch.
struct SessionBytes {
  size_t inputs = 0;
  /// Keys and values: of all slots, of the rows that are kept, and of those that an act joins.
  size_t slots = 0;
};
SessionBytes sessionBytes(const ModelShape& shape, const SessionOptions& options);

/// A row that can be denoised from: of the prefix in a slot, or, where `slot` is the number of slots, a row that is kept.
struct RowPlace {
  int slot = 0;
  int row = 0;
};
/// All rows of a slot in their order.
std::vector<RowPlace> wholeSlot(int slot, int64_t batch);

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
  /// [batch]: the place where each row is to be kept, or -1; empty: none is.
  std::vector<int32_t> keep;
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

struct RowAddress;

/// Vision, prefix and denoise of one model on one GPU, with their buffers, slots, streams and captured graphs.
/// start… puts work into a stream and returns; …Done asks whether it has ended; finish… reads the result. A slot takes
/// one perceive at a time; acts end in the order in which they were started. The streams are ordered by events: an act
/// waits for its slots' keys and values, a perceive for the last act that reads what it will overwrite. All calls come from
/// one thread, with the context current.
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

  /// Acts that can be under way: one runs, the next waits in the stream.
  static constexpr size_t kActs = 2;
  /// Denoises `rows`, [batch]. All rows of one slot in their order are denoised where they lie, also when the slot is still
  /// being filled. Any others are joined first, and must be there: a slot that is being filled is refused.
  void startAct(const std::vector<RowPlace>& rows, const ActInput& input);
  /// Of the oldest act under way.
  bool actDone() const;
  ActResult finishAct();

  /// Waits for what is under way in the streams: after a start… that threw, before the slot is used again. Throws Error.
  void settle();

  /// Runs one batch step by step, without captured graphs, and keeps everything. Only while nothing is in flight.
  Trace trace(int slot, const PerceiveInput& perceive, const ActInput& act);

 private:
  struct KeyValues;
  struct Slot;
  struct Act;
  struct KeptRow;
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
  void check(const ActInput& input) const;
  void uploadPerceive(Slot& slot, const PerceiveInput& input);
  void uploadAct(Act& act, const ActInput& input);
  VisionCall visionCall(int64_t images) const;
  PrefixCall prefixCall(const Slot& slot, const PerceiveInput& input) const;
  DenoiseCall denoiseCall(const KeyValues& from, int steps) const;
  KeyValues takeKeyValues(int64_t index);

  // session_rows.cc
  void checkKeep(const PerceiveInput& input) const;
  /// Whether the rows are all of one slot's, in their order; throws where one of them is not there.
  bool whole(const std::vector<RowPlace>& rows) const;
  /// The slots among the places of rows, each once.
  std::vector<Slot*> slotsOf(const std::vector<RowPlace>& rows);
  RowAddress addressOf(const KeyValues& all, int64_t row) const;
  RowAddress addressOfKept(int place, int64_t prefixLength) const;
  /// Puts the copies of rows into the stream; `staging` is theirs until they have ended.
  void copyRows(const cuda::Stream& stream, const cuda::PinnedBuffer& staging, cuda::DevicePtr table,
                const std::vector<kernels::RowCopy>& copies) const;
  void keepRows(Slot& slot, const PerceiveInput& input);
  void joinRows(const Act& act, const std::vector<RowPlace>& rows);
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
  std::vector<std::unique_ptr<Act>> acts_;
  size_t oldestAct_ = 0;
  size_t actsUnderWay_ = 0;
  /// Where an act's rows are joined; its rows are denoised from there.
  std::unique_ptr<KeyValues> joined_;
  std::vector<KeptRow> kept_;
  cuda::DevicePtr keptRows_ = 0;
  cuda::DevicePtr keepTable_ = 0;
  cuda::DevicePtr joinTable_ = 0;
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
