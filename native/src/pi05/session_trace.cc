#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/half.h"
#include "pi05/session_slot.h"

namespace turbopi::pi05 {
namespace {

/// Waits for both streams when it goes; an error that they hold has been thrown already, or comes with the next call.
struct Drained {
  const cuda::Stream& first;
  const cuda::Stream& second;
  ~Drained() {
    for (const cuda::Stream* stream : {&first, &second}) {
      try {
        stream->synchronize();
      } catch (const Error&) {
      }
    }
  }
};

}  // namespace

std::vector<float> Session::read(const cuda::Stream& stream, cuda::DevicePtr from, int64_t elements,
                                 ElementType type) const {
  const cuda::PinnedBuffer staging(driver_, bytes(elements, bytesOf(type)));
  stream.download(staging.as<char>(), from, staging.bytes());
  stream.synchronize();
  std::vector<float> out(static_cast<size_t>(elements));
  if (type == ElementType::kFloat32) {
    std::memcpy(out.data(), staging.as<char>(), staging.bytes());
  } else {
    const auto* half = staging.as<uint16_t>();
    std::transform(half, half + elements, out.begin(), type == ElementType::kBFloat16 ? floatFromBf16 : floatFromFp16);
  }
  return out;
}

Trace Session::trace(int index, const PerceiveInput& perceive, const ActInput& act) {
  Slot& slot = slotAt(index);
  check(perceive);
  check(act);
  requireInput(act.batch == perceive.batch, "the perceive has " + std::to_string(perceive.batch) + " rows, the act " +
                                                std::to_string(act.batch));
  const cuda::Stream& stream = perceiveStream();
  const cuda::Stream& acting = actStream();
  const ModelShape& model = shape();
  Trace trace;
  // Pinned memory goes with a context that failed: nothing is written there before the driver has been asked.
  stream.synchronize();
  std::unique_ptr<Stage> vision, prefix, denoise;
  // A stage must outlive its work in the stream, also where a call below throws.
  const Drained drained{stream, acting};
  slot.held.batch = perceive.batch;
  slot.held.prefixLength = perceive.prefixLength;
  uploadPerceive(slot, perceive);
  vision = stages_->vision(visionCall(perceive.images), stream, perceiveScratch());
  vision->enqueue(stream, 0);
  trace.imageEmbeddings = read(stream, embeddings_, perceive.images * model.imageTokens * model.width, model.element);
  prefix = stages_->prefix(prefixCall(slot, perceive), stream, perceiveScratch());
  prefix->enqueue(stream, 0);
  stream.synchronize();
  const int64_t cache = model.cacheElements(perceive.batch, perceive.prefixLength);
  for (size_t layer = 0; layer < slot.held.keys.size(); ++layer) {
    trace.keys.push_back(read(stream, slot.held.keys[layer], cache, model.element));
    trace.values.push_back(read(stream, slot.held.values[layer], cache, model.element));
  }
  uploadAct(*acts_.front(), act);
  denoise = stages_->denoise(denoiseCall(slot.held, act.steps), acting, actScratch());
  const int64_t floats = model.actionFloats(act.batch);
  for (int step = 0; step < act.steps; ++step) {
    trace.x.push_back(read(acting, x_[step % 2], floats, ElementType::kFloat32));
    denoise->enqueue(acting, step);
    trace.velocity.push_back(read(acting, velocity_, floats, ElementType::kFloat32));
  }
  trace.act.actions = read(acting, x_[act.steps % 2], floats, ElementType::kFloat32);
  return trace;
}

}  // namespace turbopi::pi05
