#include "pi05/session.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/error.h"
#include "pi05/session_slot.h"

namespace turbopi::pi05 {
namespace {

enum GraphKind : int64_t { kVision, kPrefix, kDenoise };

void requireInput(bool condition, const std::string& reason) {
  if (!condition) throw InvalidInput(reason);
}

void requireCount(size_t got, int64_t expected, const char* what) {
  requireInput(static_cast<int64_t>(got) == expected,
               std::string(what) + " has " + std::to_string(got) + " elements, expected " + std::to_string(expected));
}

}  // namespace

SessionBytes sessionBytes(const ModelShape& model) {
  const size_t element = bytesOf(model.element);
  const size_t cache = bytes(model.cacheElements(model.maxBatch, model.maxPrefix), element);
  SessionBytes out;
  for (const size_t input : {bytes(model.maxImages * model.imageBytes(), 1),
                             bytes(model.maxImages * model.imageTokens * model.width, element),
                             bytes(model.maxTokens(), sizeof(int64_t)),
                             bytes(model.maxBatch * model.maxPrefix, sizeof(int64_t)),
                             kMostSteps * updateBytes(model), bytes(model.maxBatch * model.actionDim, sizeof(float))})
    out.inputs += cuda::aligned(input);
  out.inputs += 4 * cuda::aligned(bytes(model.actionFloats(model.maxBatch), sizeof(float)));
  out.slot = cuda::aligned(bytes(model.maxBatch, sizeof(int64_t))) +
             2 * static_cast<size_t>(model.layers) * cuda::aligned(cache);
  return out;
}

Session::Session(const cuda::DriverPtr& driver, std::unique_ptr<StageMaker> stages, const SessionOptions& options)
    : driver_(driver),
      options_(options),
      stages_(std::move(stages)),
      perceiveGraphs_(options.graphs),
      actGraphs_(options.graphs) {
  require(options.lanes == 1 || options.lanes == 2, "a session has 1 or 2 lanes");
  require(options.slots >= 1, "a session has at least 1 slot");
  const ModelShape& model = shape();
  streams_.push_back(std::make_unique<cuda::Stream>(driver_, cuda::Stream::Priority::kNormal));
  if (options.lanes == 2) streams_.push_back(std::make_unique<cuda::Stream>(driver_, cuda::Stream::Priority::kHigh));
  for (size_t lane = 0; lane < streams_.size(); ++lane)
    bells_.push_back(std::make_unique<cuda::Stream>(driver_, cuda::Stream::Priority::kHigh));

  const size_t element = bytesOf(model.element);
  const size_t cache = bytes(model.cacheElements(model.maxBatch, model.maxPrefix), element);
  const size_t pixels = bytes(model.maxImages * model.imageBytes(), 1);
  const size_t embeddings = bytes(model.maxImages * model.imageTokens * model.width, element);
  const size_t tokens = bytes(model.maxTokens(), sizeof(int64_t));
  const size_t source = bytes(model.maxBatch * model.maxPrefix, sizeof(int64_t));
  const size_t x = bytes(model.actionFloats(model.maxBatch), sizeof(float));
  updateStride_ = updateBytes(model);
  const size_t updates = kMostSteps * updateStride_;
  const size_t state = bytes(model.maxBatch * model.actionDim, sizeof(float));
  const size_t lengths = bytes(model.maxBatch, sizeof(int64_t));
  const SessionBytes needed = sessionBytes(model);
  arena_.emplace(driver_, needed.inputs + static_cast<size_t>(options.slots) * needed.slot);
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
    auto made = std::make_unique<Slot>(driver_, model);
    made->index = index;
    made->lengths = arena_->take(lengths);
    for (int64_t layer = 0; layer < model.layers; ++layer) {
      made->keys.push_back(arena_->take(cache));
      made->values.push_back(arena_->take(cache));
    }
    slots_.push_back(std::move(made));
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
}

void Session::check(int64_t held, const ActInput& input) const {
  requireInput(input.batch >= 1 && input.batch == held, "the slot holds a prefix of " + std::to_string(held) +
                                                            " rows, the act has " + std::to_string(input.batch));
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
  call.lengths = slot.lengths;
  call.keys = slot.keys;
  call.values = slot.values;
  return call;
}

DenoiseCall Session::denoiseCall(const Slot& slot, int steps) const {
  const StepTable& table = *tables_.at(steps);
  DenoiseCall call;
  call.batch = slot.batch;
  call.prefixLength = slot.prefixLength;
  call.x[0] = x_[0];
  call.x[1] = x_[1];
  call.velocity = velocity_;
  call.updates = updates_;
  call.updateStride = updateStride_;
  call.target = target_;
  call.modulation = table.block.address();
  call.modulationStride = table.stride;
  if (shape().given) call.givenModulation = call.modulation + static_cast<size_t>(steps) * table.stride;
  call.lengths = slot.lengths;
  call.state = shape().state ? state_ : 0;
  call.keys = slot.keys;
  call.values = slot.values;
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
  send(slot.lengthsHost, slot.lengths, input.lengths.data(), input.lengths.size() * sizeof(int64_t));
  slot.batch = input.batch;
  slot.prefixLength = input.prefixLength;
}

void Session::uploadAct(Slot& slot, const ActInput& input) {
  slot.noise.fill(input.noise.data(), input.noise.size() * sizeof(float));
  actStream().upload(x_[0], slot.noise.as<char>(), input.noise.size() * sizeof(float));
  slot.targets.fill(input.targets.data(), input.targets.size() * sizeof(float));
  actStream().upload(target_, slot.targets.as<char>(), input.targets.size() * sizeof(float));
  const auto perStep = static_cast<size_t>(shape().updateFloats(input.batch));
  for (size_t step = 0; step < static_cast<size_t>(input.steps); ++step)
    std::memcpy(slot.updates.as<char>() + step * updateStride_, input.updates.data() + step * perStep,
                perStep * sizeof(float));
  actStream().upload(updates_, slot.updates.as<char>(), static_cast<size_t>(input.steps) * updateStride_);
  if (shape().state) {
    slot.stateHost.fill(input.state.data(), input.state.size() * sizeof(float));
    actStream().upload(state_, slot.stateHost.as<char>(), input.state.size() * sizeof(float));
  }
  slot.actBatch = input.batch;
}

void Session::startPerceive(int index, const PerceiveInput& input) {
  Slot& slot = slotAt(index);
  requireInput(!slot.perceiving, "slot " + std::to_string(index) + " is being filled already");
  check(input);
  const cuda::Stream& stream = perceiveStream();
  stream.wait(slot.actEnd);
  stream.record(slot.perceiveStart);
  uploadPerceive(slot, input);
  const auto tokens = static_cast<int64_t>(input.tokens.size());
  perceiveGraphs_
      .get({kVision, input.images, 0, 0, 0, 0}, stream, 1,
           [&] { return stages_->vision(visionCall(input.images), stream, perceiveScratch()); })
      .launch(stream);
  stream.record(slot.visionEnd);
  perceiveGraphs_
      .get({kPrefix, slot.index, input.images, input.batch, tokens, input.prefixLength}, stream, 1,
           [&] { return stages_->prefix(prefixCall(slot, input), stream, perceiveScratch()); })
      .launch(stream);
  stream.record(slot.ready);
  slot.perceiving = true;
  announce(*bells_.front(), slot.ready);
}

bool Session::perceiveDone(int slot) const { return slotAt(slot).ready.done(); }

PerceiveResult Session::finishPerceive(int index) {
  Slot& slot = slotAt(index);
  slot.perceiving = false;
  return {slot.visionEnd.since(slot.perceiveStart), slot.ready.since(slot.visionEnd)};
}

void Session::startAct(int index, const ActInput& input) {
  Slot& slot = slotAt(index);
  requireInput(!slot.acting, "slot " + std::to_string(index) + " is being denoised already");
  check(slot.batch, input);
  const cuda::Stream& stream = actStream();
  stream.wait(slot.ready);
  stream.record(slot.actStart);
  uploadAct(slot, input);
  actGraphs_
      .get({kDenoise, slot.index, slot.batch, slot.prefixLength, input.steps, 0}, stream, input.steps,
           [&] { return stages_->denoise(denoiseCall(slot, input.steps), stream, actScratch()); })
      .launch(stream);
  stream.record(slot.denoiseEnd);
  stream.download(slot.actions.as<char>(), x_[input.steps % 2], input.noise.size() * sizeof(float));
  stream.record(slot.actEnd);
  slot.acting = true;
  announce(*bells_.back(), slot.actEnd);
}

bool Session::actDone(int slot) const { return slotAt(slot).actEnd.done(); }

ActResult Session::finishAct(int index) {
  Slot& slot = slotAt(index);
  slot.acting = false;
  const auto* actions = slot.actions.as<float>();
  return {slot.denoiseEnd.since(slot.actStart),
          std::vector<float>(actions, actions + shape().actionFloats(slot.actBatch))};
}

void Session::settle() {
  for (const auto& stream : streams_) stream->synchronize();
}

}  // namespace turbopi::pi05
