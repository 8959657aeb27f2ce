#include <cstdio>
#include <cstring>

#include "fake_cuda_objects.h"

using namespace turbopi::cuda;
using namespace fake;

/// The stand-in driver itself, its cards and their primary contexts. What is made in them is in fake_cuda.cc.

namespace {

/// The card behind an ordinal: as CUDA_VISIBLE_DEVICES lists them, else in their order.
std::vector<int> visibleCards() {
  std::vector<int> cards;
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  for (const char* next = visible; next != nullptr && *next != '\0'; next = std::strpbrk(next, ",")) {
    if (*next == ',') ++next;
    cards.push_back(std::atoi(next));
  }
  for (int card = 0; visible == nullptr && card < environment("FAKE_CUDA_DEVICES", 1); ++card) cards.push_back(card);
  return cards;
}

}  // namespace

extern "C" {

Result cuInit(unsigned) {
  if (const Result result = enter("cuInit")) return result;
  return visibleCards().empty() ? kNoDevice : kSuccess;
}
Result cuDriverGetVersion(int* version) {
  *version = environment("FAKE_CUDA_VERSION", 13000);
  return enter("cuDriverGetVersion");
}
Result cuGetErrorName(Result, const char** name) {
  *name = "FAKE_ERROR";
  return kSuccess;
}
Result cuGetErrorString(Result, const char** text) {
  *text = "made by a test";
  return kSuccess;
}
Result cuDeviceGetCount(int* devices) {
  *devices = static_cast<int>(visibleCards().size());
  return enter("cuDeviceGetCount");
}
Result cuDeviceGet(DeviceId* device, int ordinal) {
  *device = visibleCards().at(static_cast<size_t>(ordinal));
  return enter("cuDeviceGet");
}
Result cuDeviceGetName(char* name, int length, DeviceId) {
  std::snprintf(name, static_cast<size_t>(length), "%s", "Stand-in GPU");
  return enter("cuDeviceGetName");
}
Result cuDeviceGetAttribute(int* value, int attribute, DeviceId) {
  *value = attribute == kAttributeComputeCapabilityMajor ? 11 : attribute == kAttributeComputeCapabilityMinor ? 0 : 20;
  return enter("cuDeviceGetAttribute");
}
Result cuDeviceTotalMem_v2(size_t* bytes, DeviceId) {
  *bytes = size_t{1} << 30;
  return enter("cuDeviceTotalMem_v2");
}
Result cuDeviceGetPCIBusId(char* text, int length, DeviceId device) {
  std::snprintf(text, static_cast<size_t>(length), "0000:%02x:00.0", device == 0 ? 0x1b : 0x3d);
  return enter("cuDeviceGetPCIBusId");
}
Result cuMemGetInfo_v2(size_t* freeBytes, size_t* totalBytes) {
  *freeBytes = *totalBytes = size_t{1} << 30;
  return enter("cuMemGetInfo_v2");
}
Result cuDevicePrimaryCtxRetain(RawContext* context, DeviceId card) {
  if (const Result result = enter("cuDevicePrimaryCtxRetain")) return result;
  count(1);
  const std::lock_guard<std::mutex> lock(state().mutex);
  CUctx_st& primary = state().contexts[card];
  ++primary.holders;
  primary.active = true;
  *context = &primary;
  return kSuccess;
}
Result cuDevicePrimaryCtxRelease_v2(DeviceId card) {
  count(-1);
  {
    const std::lock_guard<std::mutex> lock(state().mutex);
    CUctx_st& primary = state().contexts[card];
    if (--primary.holders == 0) primary.active = false;
  }
  return enter("cuDevicePrimaryCtxRelease_v2");
}
Result cuDevicePrimaryCtxReset_v2(DeviceId card) {
  if (const Result result = enter("cuDevicePrimaryCtxReset_v2")) return result;
  CUctx_st gone;
  {
    const std::lock_guard<std::mutex> lock(state().mutex);
    CUctx_st& primary = state().contexts[card];
    primary.active = false;
    gone.streams.swap(primary.streams);
    gone.others.swap(primary.others);
  }
  count(-static_cast<int>(gone.streams.size() + gone.others.size()));
  for (const auto& [stream, destroy] : gone.streams) destroy();
  for (const auto& [handle, destroy] : gone.others) destroy();
  return kSuccess;
}
Result cuDevicePrimaryCtxGetState(DeviceId card, unsigned* flags, int* active) {
  const std::lock_guard<std::mutex> lock(state().mutex);
  *flags = 0;
  *active = state().contexts[card].active ? 1 : 0;
  return kSuccess;
}
Result cuCtxSetCurrent(RawContext context) {
  {
    const std::lock_guard<std::mutex> lock(state().mutex);
    for (const auto& [card, primary] : state().contexts)
      if (&primary == context) currentCard = card;
  }
  return enter("cuCtxSetCurrent");
}
Result cuCtxSynchronize() {
  std::vector<RawStream> streams;
  {
    const std::lock_guard<std::mutex> lock(state().mutex);
    for (const auto& [stream, destroy] : state().contexts[currentCard].streams) streams.push_back(stream);
  }
  for (const RawStream stream : streams) stream->drain();
  return enter("cuCtxSynchronize");
}
Result cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return enter("cuCtxGetStreamPriorityRange");
}

}  // extern "C"
