#include "pi05/session.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/error.h"
#include "pi05/session_slot.h"

namespace turbopi::pi05 {
namespace {

enum GraphKind : int64_t { kVision, kPrefix, kDenoise };
constexpr int kMostSlots = 8;

void requireCount(size_t got, int64_t expected, const char* what) {
  requireInput(static_cast<int64_t>(got) == expected,
               std::string(what) + " has " + std::to_string(got) + " elements, expected " + std::to_string(expected));
}

/// Of `rows` rows' keys and values.
size_t keyValueBytes(const ModelShape& model, int64_t rows) {
  return 2 * static_cast<size_t>(model.layers) * cuda::aligned(model.cacheBytes(rows, model.maxPrefix));
}

}  // namespace

SessionBytes sessionBytes(const ModelShape& model, const SessionOptions& options) {
  const size_t element = bytesOf(model.element);
  SessionBytes out;
  for (const size_t input : {bytes(model.maxImages * model.imageBytes(), 1),
                             bytes(model.maxImages * model.imageTokens * model.width, element),
                             bytes(model.maxTokens(), sizeof(int64_t)),
                             bytes(model.maxBatch * model.maxPrefix, sizeof(int64_t)),
                             kMostSteps * updateBytes(model), bytes(model.maxBatch * model.actionDim, sizeof(float))})
    out.inputs += cuda::aligned(input);
  out.inputs += 4 * cuda::aligned(bytes(model.actionFloats(model.maxBatch), sizeof(float)));
  const size_t slot =
      cuda::aligned(bytes(model.maxBatch, sizeof(int64_t))) + keyValueBytes(model, model.maxBatch);
  out.slots = static_cast<size_t>(options.slots) * slot;
  if (model.joins) {
    out.inputs += 2 * cuda::aligned(copyTableBytes(model));
    out.slots += slot + static_cast<size_t>(options.kept) * keyValueBytes(model, 1);
  }
  return out;
}

std::vector<RowPlace> wholeSlot(int slot, int64_t batch) {
  std::vector<RowPlace> rows;
  for (int row = 0; row < batch; ++row) rows.push_back({slot, row});
  return rows;
}

Session::Session(const cuda::DriverPtr& driver, std::unique_ptr<StageMaker> stages, const SessionOptions& options)
    : driver_(driver),
      options_(options),
      stages_(std::move(stages)),
      perceiveGraphs_(options.graphs),
      actGraphs_(options.graphs) {
  require(options.lanes == 1 || options.lanes == 2, "a session has 1 or 2 lanes");
  require(options.slots >= 1 && options.slots <= kMostSlots,
          "a session has 1 to " + std::to_string(kMostSlots) + " slots");
  const ModelShape& model = shape();
  require(options.kept == 0 || (options.kept > 0 && model.joins), "no rows can be kept here: these stages join none");
  streams_.push_back(std::make_unique<cuda::Stream>(driver_, cuda::Stream::Priority::kNormal));
  if (options.lanes == 2) streams_.push_back(std::make_unique<cuda::Stream>(driver_, cuda::Stream::Priority::kHigh));
  for (size_t lane = 0; lane < streams_.size(); ++lane)
    bells_.push_back(std::make_unique<cuda::Stream>(driver_, cuda::Stream::Priority::kHigh));

  const size_t element = bytesOf(model.element);
  const size_t pixels = bytes(model.maxImages * model.imageBytes(), 1);
  const size_t embeddings = bytes(model.maxImages * model.imageTokens * model.width, element);
  const size_t tokens = bytes(model.maxTokens(), sizeof(int64_t));
  const size_t source = bytes(model.maxBatch * model.maxPrefix, sizeof(int64_t));
  const size_t x = bytes(model.actionFloats(model.maxBatch), sizeof(float));
  updateStride_ = updateBytes(model);
  const size_t updates = kMostSteps * updateStride_;
  const size_t state = bytes(model.maxBatch * model.actionDim, sizeof(float));
  const SessionBytes needed = sessionBytes(model, options);
  arena_.emplace(driver_, needed.inputs + needed.slots);
  pixels_ = arena_->take(pixels);
  embeddings_ = arena_->take(embeddings);
  tokens_ = arena_->take(tokens);
  source_ = arena_->take(source);
  x_[0] = arena_->take(x);
  x_[1] = arena_->take(x);
  velocity_ = arena_->take(x);
  target_ = arena_->take(x);
  updates_ = arena_->take(updates);
  state_ = arena_->take(state);
  for (int index = 0; index < options.slots; ++index) {
    slots_.push_back(std::make_unique<Slot>(driver_, model));
    slots_.back()->held = takeKeyValues(index);
  }
  for (size_t act = 0; act < kActs; ++act) acts_.push_back(std::make_unique<Act>(driver_, model));
  if (model.joins) {
    joined_ = std::make_unique<KeyValues>(takeKeyValues(options.slots));
    kept_.resize(static_cast<size_t>(options.kept));
    keptRows_ = arena_->take(kept_.size() * keyValueBytes(model, 1));
    keepTable_ = arena_->take(copyTableBytes(model));
    joinTable_ = arena_->take(copyTableBytes(model));
  }

  const size_t perceive = std::max(stages_->visionScratch(), stages_->prefixScratch());
  const size_t act = stages_->denoiseScratch();
  scratch_.push_back(
      std::make_unique<cuda::DeviceBuffer>(driver_, options.lanes == 2 ? perceive : std::max(perceive, act)));
  if (options.lanes == 2) scratch_.push_back(std::make_unique<cuda::DeviceBuffer>(driver_, act));
  perceiveStream().clear(arena_->base(), arena_->bytes());
  perceiveStream().synchronize();
}

Session::~Session() = default;

Session::KeyValues Session::takeKeyValues(int64_t index) {
  const ModelShape& model = shape();
  const size_t cache = model.cacheBytes(model.maxBatch, model.maxPrefix);
  KeyValues made;
  made.index = index;
  made.stride = cuda::aligned(cache);
  made.lengths = arena_->take(bytes(model.maxBatch, sizeof(int64_t)));
  for (int64_t layer = 0; layer < model.layers; ++layer) {
    made.keys.push_back(arena_->take(cache));
    made.values.push_back(arena_->take(cache));
  }
  return made;
}

void Session::onDone(cuda::HostFunction wake, void* userData) {
  wake_ = wake;
  wakeData_ = userData;
}

void Session::announce(const cuda::Stream& bell, const cuda::Event& end) const {
  if (wake_ == nullptr) return;
  bell.wait(end);
  bell.notify(wake_, wakeData_);
}

Scratch Session::perceiveScratch() const { return {scratch_.front()->address(), scratch_.front()->bytes()}; }
Scratch Session::actScratch() const { return {scratch_.back()->address(), scratch_.back()->bytes()}; }

Session::Slot& Session::slotAt(int slot) {
  requireInput(slot >= 0 && slot < options_.slots,
               "slot " + std::to_string(slot) + " is not one of " + std::to_string(options_.slots));
  return *slots_[static_cast<size_t>(slot)];
}

const Session::Slot& Session::slotAt(int slot) const { return const_cast<Session*>(this)->slotAt(slot); }

void Session::setModulation(int steps, const std::vector<float>& table) {
  requireInput(steps >= 1 && steps <= kMostSteps,
               "steps is " + std::to_string(steps) + ", expected 1…" + std::to_string(kMostSteps));
  const int64_t rows = shape().modulations(steps);
  requireCount(table.size(), rows * stages_->modulationInput(), "modulation");
  if (tables_.count(steps) != 0) return;
  auto made = std::make_unique<StepTable>(driver_, rows, shape().modulation);
  if (stages_->modulates())
    makeRows(*made, rows, table);
  else
    uploadRows(*made, rows, table);
  tables_[steps] = std::move(made);
}

void Session::uploadRows(const StepTable& made, int64_t rows, const std::vector<float>& table) {
  const auto width = static_cast<size_t>(shape().modulation);
  const cuda::PinnedBuffer staging(driver_, made.block.bytes());
  std::memset(staging.as<char>(), 0, staging.bytes());
  for (size_t row = 0; row < static_cast<size_t>(rows); ++row)
    std::memcpy(staging.as<char>() + row * made.stride, table.data() + row * width, width * sizeof(float));
  actStream().upload(made.block.address(), staging.as<char>(), staging.bytes());
  actStream().synchronize();
}

void Session::makeRows(const StepTable& made, int64_t rows, const std::vector<float>& table) {
  const size_t size = table.size() * sizeof(float);
  const cuda::PinnedBuffer staging(driver_, size);
  const cuda::DeviceBuffer input(driver_, size);
  staging.fill(table.data(), size);
  try {
    actStream().clear(made.block.address(), made.block.bytes());
    actStream().upload(input.address(), staging.as<char>(), size);
    stages_->modulate(actStream(), static_cast<int>(rows), input.address(), made.block.address(), made.stride);
  } catch (...) {
    // What was started still reads and writes these blocks.
    driver_->streamSynchronize(actStream().raw());
    throw;
  }
  actStream().synchronize();
}

void Session::check(const PerceiveInput& input) const {
  const ModelShape& model = shape();
  requireInput(input.batch >= 1 && input.batch <= model.maxBatch,
               "batch is " + std::to_string(input.batch) + ", expected 1…" + std::to_string(model.maxBatch));
  requireInput(input.images >= 1 && input.images <= model.maxImages,
               "images is " + std::to_string(input.images) + ", expected 1…" + std::to_string(model.maxImages));
  requireInput(input.prefixLength >= 1 && input.prefixLength <= model.maxPrefix,
               "the prefix has " + std::to_string(input.prefixLength) + " places, expected 1…" +
                   std::to_string(model.maxPrefix));
  requireCount(input.pixels.size(), input.images * model.imageBytes(), "images");
  requireCount(input.source.size(), input.batch * input.prefixLength, "source");
  requireCount(input.lengths.size(), input.batch, "lengths");
  const auto tokens = static_cast<int64_t>(input.tokens.size());
  requireInput(bucketOf(model, input.batch, tokens) >= 0,
               "tokens has " + std::to_string(tokens) + " elements, which is not batch × a bucket");
  const int64_t places = input.images * model.imageTokens + tokens;
  for (const int64_t place : input.source)
    requireInput(place >= 0 && place < places,
                 "source names place " + std::to_string(place) + " of " + std::to_string(places));
  for (const int64_t length : input.lengths)
    requireInput(length >= 1 && length <= input.prefixLength, "a row's length is " + std::to_string(length));
  checkKeep(input);
}

void Session::check(const ActInput& input) const {
  requireInput(input.batch >= 1 && input.batch <= shape().maxBatch,
               "the act has " + std::to_string(input.batch) + " rows, expected 1…" + std::to_string(shape().maxBatch));
  requireInput(tables_.count(input.steps) == 1, "no modulation was set for " + std::to_string(input.steps) + " steps");
  requireCount(input.noise.size(), shape().actionFloats(input.batch), "noise");
  requireCount(input.updates.size(), input.steps * shape().updateFloats(input.batch), "updates");
  requireCount(input.targets.size(), shape().actionFloats(input.batch), "targets");
  requireCount(input.state.size(), shape().state ? input.batch * shape().actionDim : 0, "state");
}

VisionCall Session::visionCall(int64_t images) const { return {images, pixels_, embeddings_}; }

PrefixCall Session::prefixCall(const Slot& slot, const PerceiveInput& input) const {
  PrefixCall call;
  call.images = input.images;
  call.batch = input.batch;
  call.tokenCount = static_cast<int64_t>(input.tokens.size());
  call.prefixLength = input.prefixLength;
  call.embeddings = embeddings_;
  call.tokens = tokens_;
  call.source = source_;
  call.lengths = slot.held.lengths;
  call.keys = slot.held.keys;
  call.values = slot.held.values;
  return call;
}

DenoiseCall Session::denoiseCall(const KeyValues& from, int steps) const {
  const StepTable& table = *tables_.at(steps);
  DenoiseCall call;
  call.batch = from.batch;
  call.prefixLength = from.prefixLength;
  call.x[0] = x_[0];
  call.x[1] = x_[1];
  call.velocity = velocity_;
  call.updates = updates_;
  call.updateStride = updateStride_;
  call.target = target_;
  call.modulation = table.block.address();
  call.modulationStride = table.stride;
  if (shape().given) call.givenModulation = call.modulation + static_cast<size_t>(steps) * table.stride;
  call.lengths = from.lengths;
  call.state = shape().state ? state_ : 0;
  call.keys = from.keys;
  call.values = from.values;
  return call;
}

void Session::uploadPerceive(Slot& slot, const PerceiveInput& input) {
  const cuda::Stream& stream = perceiveStream();
  const auto send = [&](const cuda::PinnedBuffer& staging, cuda::DevicePtr to, const void* data, size_t size) {
    staging.fill(data, size);
    stream.upload(to, staging.as<char>(), size);
  };
  send(slot.pixels, pixels_, input.pixels.data(), input.pixels.size());
  send(slot.tokens, tokens_, input.tokens.data(), input.tokens.size() * sizeof(int64_t));
  send(slot.source, source_, input.source.data(), input.source.size() * sizeof(int64_t));
  send(slot.lengths, slot.held.lengths, input.lengths.data(), input.lengths.size() * sizeof(int64_t));
}

void Session::uploadAct(Act& act, const ActInput& input) {
  act.noise.fill(input.noise.data(), input.noise.size() * sizeof(float));
  actStream().upload(x_[0], act.noise.as<char>(), input.noise.size() * sizeof(float));
  act.targets.fill(input.targets.data(), input.targets.size() * sizeof(float));
  actStream().upload(target_, act.targets.as<char>(), input.targets.size() * sizeof(float));
  const auto perStep = static_cast<size_t>(shape().updateFloats(input.batch));
  for (size_t step = 0; step < static_cast<size_t>(input.steps); ++step)
    std::memcpy(act.updates.as<char>() + step * updateStride_, input.updates.data() + step * perStep,
                perStep * sizeof(float));
  actStream().upload(updates_, act.updates.as<char>(), static_cast<size_t>(input.steps) * updateStride_);
  if (shape().state) {
    act.state.fill(input.state.data(), input.state.size() * sizeof(float));
    actStream().upload(state_, act.state.as<char>(), input.state.size() * sizeof(float));
  }
  act.batch = input.batch;
}

void Session::startPerceive(int index, const PerceiveInput& input) {
  Slot& slot = slotAt(index);
  requireInput(!slot.perceiving, "slot " + std::to_string(index) + " is being filled already");
  check(input);
  const cuda::Stream& stream = perceiveStream();
  // Nothing is held until all of it is on its way, also where a call below throws.
  slot.held.batch = 0;
  stream.wait(slot.read);
  stream.record(slot.start);
  uploadPerceive(slot, input);
  const auto tokens = static_cast<int64_t>(input.tokens.size());
  perceiveGraphs_
      .get({kVision, input.images, 0, 0, 0, 0}, stream, 1,
           [&] { return stages_->vision(visionCall(input.images), stream, perceiveScratch()); })
      .launch(stream);
  stream.record(slot.visionEnd);
  perceiveGraphs_
      .get({kPrefix, slot.held.index, input.images, input.batch, tokens, input.prefixLength}, stream, 1,
           [&] { return stages_->prefix(prefixCall(slot, input), stream, perceiveScratch()); })
      .launch(stream);
  keepRows(slot, input);
  stream.record(slot.ready);
  slot.held.batch = input.batch;
  slot.held.prefixLength = input.prefixLength;
  slot.perceiving = true;
  announce(*bells_.front(), slot.ready);
}

bool Session::perceiveDone(int slot) const { return slotAt(slot).ready.done(); }

PerceiveResult Session::finishPerceive(int index) {
  Slot& slot = slotAt(index);
  slot.perceiving = false;
  for (const int place : slot.keeping) kept_[static_cast<size_t>(place)].filling = false;
  slot.keeping.clear();
  return {slot.visionEnd.since(slot.start), slot.ready.since(slot.visionEnd)};
}

void Session::startAct(const std::vector<RowPlace>& rows, const ActInput& input) {
  requireInput(actsUnderWay_ < kActs, std::to_string(kActs) + " acts are under way already");
  requireCount(rows.size(), input.batch, "rows");
  const bool inPlace = whole(rows);
  check(input);
  const std::vector<Slot*> slots = slotsOf(rows);
  Act& act = *acts_[(oldestAct_ + actsUnderWay_) % kActs];
  const cuda::Stream& stream = actStream();
  for (const Slot* slot : slots) stream.wait(slot->ready);
  stream.record(act.start);
  uploadAct(act, input);
  const auto leave = [&] {
    for (const Slot* slot : slots) stream.record(slot->read);
  };
  if (!inPlace) {
    joinRows(act, rows);
    leave();
  }
  const KeyValues& from = inPlace ? slots.front()->held : *joined_;
  actGraphs_
      .get({kDenoise, from.index, from.batch, from.prefixLength, input.steps, 0}, stream, input.steps,
           [&] { return stages_->denoise(denoiseCall(from, input.steps), stream, actScratch()); })
      .launch(stream);
  if (inPlace) leave();
  stream.record(act.denoiseEnd);
  stream.download(act.actions.as<char>(), x_[input.steps % 2], input.noise.size() * sizeof(float));
  stream.record(act.end);
  ++actsUnderWay_;
  announce(*bells_.back(), act.end);
}

bool Session::actDone() const {
  require(actsUnderWay_ > 0, "no act is under way");
  return acts_[oldestAct_]->end.done();
}

ActResult Session::finishAct() {
  require(actsUnderWay_ > 0, "no act is under way");
  const Act& act = *acts_[oldestAct_];
  oldestAct_ = (oldestAct_ + 1) % kActs;
  --actsUnderWay_;
  const auto* actions = act.actions.as<float>();
  return {act.denoiseEnd.since(act.start), std::vector<float>(actions, actions + shape().actionFloats(act.batch))};
}

void Session::settle() {
  for (const auto& stream : streams_) stream->synchronize();
}

}  // namespace turbopi::pi05
