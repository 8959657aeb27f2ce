#include "fake_cuda.h"

#include <atomic>
#include <cstdio>
#include <cstring>

#include "fake_cuda_objects.h"

using namespace turbopi::cuda;
using namespace fake;

namespace {

CUctx_st primaryContext;
std::atomic<bool> trapped{false};
CUfunc_st trapFunction;
constexpr Result kLaunchFailed = 719;
constexpr Result kNotFound = 500;

/// Leaves the counts where a parent process can read them.
struct Reporter {
  ~Reporter() {
    const char* path = std::getenv("FAKE_CUDA_REPORT");
    if (path == nullptr) return;
    if (std::FILE* file = std::fopen(path, "w")) {
      std::fprintf(file, "{\"live\": %d}\n", fakeCudaLive());
      std::fclose(file);
    }
  }
} reporter;

/// A call that CUDA forbids while a stream of the calling thread is capturing.
Result forbiddenInCapture() {
  const std::lock_guard<std::mutex> lock(state().mutex);
  return state().capturing > 0 ? kCaptureUnsupported : kSuccess;
}

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

Result copy(const char* function, RawStream stream, void* to, const void* from, size_t bytes) {
  if (const Result result = enter(function, stream->name)) return result;
  stream->push([=] { std::memcpy(to, from, bytes); });
  return kSuccess;
}

}  // namespace

extern "C" {

void fakeCudaFail(const char* function, int after, int code) {
  const std::lock_guard<std::mutex> lock(state().mutex);
  state().faults[function] = {after, code};
}
void fakeCudaBreak(int code) {
  const std::lock_guard<std::mutex> lock(state().mutex);
  state().broken = code;
}
const char* fakeCudaLog() {
  const std::lock_guard<std::mutex> lock(state().mutex);
  state().shown = state().log;
  return state().shown.c_str();
}
void fakeCudaClearLog() {
  const std::lock_guard<std::mutex> lock(state().mutex);
  state().log.clear();
}
int fakeCudaLive() {
  const std::lock_guard<std::mutex> lock(state().mutex);
  return state().live;
}
void fakeCudaSlow(int microseconds) {
  const std::lock_guard<std::mutex> lock(state().mutex);
  state().delay = microseconds;
}
int fakeCudaKernel(void* raw, const char* name, void (*run)(void*), void (*drop)(void*), void* data) {
  auto* stream = static_cast<RawStream>(raw);
  const std::shared_ptr<void> owned(data, drop);
  if (const Result result = enter("kernel", std::string(name) + " " + stream->name)) return result;
  stream->push([run, owned] { run(owned.get()); });
  return kSuccess;
}
bool fakeCudaUncapturable(void* raw) {
  auto* stream = static_cast<RawStream>(raw);
  const std::lock_guard<std::mutex> lock(stream->mutex);
  if (stream->capture) stream->invalidated = true;
  return stream->capture != nullptr;
}

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
Result cuDevicePrimaryCtxRetain(RawContext* context, DeviceId) {
  if (const Result result = enter("cuDevicePrimaryCtxRetain")) return result;
  *context = &primaryContext;
  const std::lock_guard<std::mutex> lock(primaryContext.mutex);
  ++primaryContext.holders;
  count(1);
  return kSuccess;
}
Result cuDevicePrimaryCtxRelease_v2(DeviceId) {
  const std::lock_guard<std::mutex> lock(primaryContext.mutex);
  // The next one that is asked for is made anew.
  if (--primaryContext.holders == 0 && trapped) {
    trapped = false;
    fakeCudaBreak(0);
  }
  count(-1);
  return enter("cuDevicePrimaryCtxRelease_v2");
}
Result cuCtxSetCurrent(RawContext) { return enter("cuCtxSetCurrent"); }
Result cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return enter("cuCtxGetStreamPriorityRange");
}

Result cuMemAlloc_v2(DevicePtr* address, size_t bytes) {
  if (const Result result = enter("cuMemAlloc_v2")) return result;
  if (const Result result = forbiddenInCapture()) return result;
  *address = reinterpret_cast<DevicePtr>(std::aligned_alloc(512, (bytes + 511) / 512 * 512));
  count(1);
  return kSuccess;
}
Result cuMemFree_v2(DevicePtr address) {
  std::free(reinterpret_cast<void*>(address));
  count(-1);
  return enter("cuMemFree_v2");
}
Result cuMemHostAlloc(void** address, size_t bytes, unsigned) {
  if (const Result result = enter("cuMemHostAlloc")) return result;
  if (const Result result = forbiddenInCapture()) return result;
  *address = std::malloc(bytes);
  count(1);
  return kSuccess;
}
Result cuMemFreeHost(void* address) {
  std::free(address);
  count(-1);
  return enter("cuMemFreeHost");
}
Result cuMemsetD8Async(DevicePtr address, unsigned char value, size_t bytes, RawStream stream) {
  if (const Result result = enter("cuMemsetD8Async", stream->name)) return result;
  stream->push([=] { std::memset(reinterpret_cast<void*>(address), value, bytes); });
  return kSuccess;
}
Result cuMemcpyHtoDAsync_v2(DevicePtr to, const void* from, size_t bytes, RawStream stream) {
  return copy("cuMemcpyHtoDAsync_v2", stream, reinterpret_cast<void*>(to), from, bytes);
}
Result cuMemcpyDtoHAsync_v2(void* to, DevicePtr from, size_t bytes, RawStream stream) {
  return copy("cuMemcpyDtoHAsync_v2", stream, to, reinterpret_cast<const void*>(from), bytes);
}
Result cuMemcpyDtoDAsync_v2(DevicePtr to, DevicePtr from, size_t bytes, RawStream stream) {
  return copy("cuMemcpyDtoDAsync_v2", stream, reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
}

Result cuStreamCreateWithPriority(RawStream* stream, unsigned, int) {
  if (const Result result = enter("cuStreamCreateWithPriority")) return result;
  *stream = new CUstream_st;
  count(1);
  return kSuccess;
}
Result cuStreamDestroy_v2(RawStream stream) {
  const bool faulty = broken();
  {
    const std::lock_guard<std::mutex> lock(stream->mutex);
    // CUDA allows it and lets the work run on, over memory that its owner is about to free.
    if (!faulty && (stream->busy || !stream->ops.empty())) {
      std::fprintf(stderr, "a stream was destroyed with work in flight\n");
      std::abort();
    }
    stream->ending = true;
    stream->changed.notify_all();
  }
  stream->thread.join();
  delete stream;
  count(-1);
  return enter("cuStreamDestroy_v2");
}
Result cuStreamSynchronize(RawStream stream) {
  const Result result = enter("cuStreamSynchronize", stream->name);
  if (fakeCudaUncapturable(stream)) return kCaptureUnsupported;
  stream->drain();
  const std::lock_guard<std::mutex> lock(state().mutex);
  return result == kSuccess ? state().broken : result;
}
Result cuStreamWaitEvent(RawStream stream, RawEvent raw, unsigned) {
  const EventPtr event = shared(raw);
  if (const Result result = enter("cuStreamWaitEvent", stream->name + " " + event->name)) return result;
  unsigned long number;
  {
    const std::lock_guard<std::mutex> lock(event->mutex);
    number = event->recorded;
  }
  if (number > 0) stream->push([=] { event->await(number); });
  return kSuccess;
}
Result cuStreamBeginCapture_v2(RawStream stream, int) {
  if (const Result result = enter("cuStreamBeginCapture_v2", stream->name)) return result;
  {
    const std::lock_guard<std::mutex> lock(stream->mutex);
    if (stream->capture) return kInvalidValue;
    stream->capture = std::make_unique<CUgraph_st>();
    stream->invalidated = false;
  }
  const std::lock_guard<std::mutex> lock(state().mutex);
  ++state().capturing;
  return kSuccess;
}
Result cuStreamEndCapture(RawStream stream, RawGraph* graph) {
  *graph = nullptr;
  std::unique_ptr<CUgraph_st> captured;
  bool invalidated;
  {
    const std::lock_guard<std::mutex> lock(stream->mutex);
    captured = std::move(stream->capture);
    invalidated = stream->invalidated;
  }
  if (!captured) return kInvalidValue;
  {
    const std::lock_guard<std::mutex> lock(state().mutex);
    --state().capturing;
  }
  if (const Result result = enter("cuStreamEndCapture", stream->name)) return result;
  if (invalidated) return kCaptureInvalidated;
  *graph = captured.release();
  count(1);
  return kSuccess;
}
Result cuLaunchHostFunc(RawStream stream, HostFunction function, void* data) {
  if (const Result result = enter("cuLaunchHostFunc", stream->name)) return result;
  stream->push([=] { function(data); });
  return kSuccess;
}

Result cuEventCreate(RawEvent* event, unsigned) {
  if (const Result result = enter("cuEventCreate")) return result;
  const auto made = std::make_shared<CUevent_st>();
  *event = made.get();
  const std::lock_guard<std::mutex> lock(eventsMutex);
  events()[*event] = made;
  count(1);
  return kSuccess;
}
Result cuEventDestroy_v2(RawEvent event) {
  const std::lock_guard<std::mutex> lock(eventsMutex);
  events().erase(event);
  count(-1);
  return enter("cuEventDestroy_v2");
}
Result cuEventRecord(RawEvent raw, RawStream stream) {
  const EventPtr event = shared(raw);
  if (const Result result = enter("cuEventRecord", stream->name + " " + event->name)) return result;
  unsigned long number;
  {
    const std::lock_guard<std::mutex> lock(event->mutex);
    number = ++event->recorded;
  }
  stream->push([=] { event->complete(number); });
  return kSuccess;
}
Result cuEventQuery(RawEvent raw) {
  const EventPtr event = shared(raw);
  if (const Result result = enter("cuEventQuery", event->name)) return result;
  const std::lock_guard<std::mutex> lock(event->mutex);
  return event->completed == event->recorded ? kSuccess : kNotReady;
}
Result cuEventElapsedTime(float* milliseconds, RawEvent start, RawEvent end) {
  if (const Result result = enter("cuEventElapsedTime")) return result;
  const EventPtr first = shared(start);
  const EventPtr last = shared(end);
  Clock::time_point from;
  {
    const std::lock_guard<std::mutex> lock(first->mutex);
    from = first->at;
  }
  const std::lock_guard<std::mutex> lock(last->mutex);
  *milliseconds = std::chrono::duration<float, std::milli>(last->at - from).count();
  return kSuccess;
}

Result cuGraphInstantiateWithFlags(RawGraphExec* exec, RawGraph graph, unsigned long long) {
  if (const Result result = enter("cuGraphInstantiateWithFlags")) return result;
  *exec = new CUgraphExec_st{std::make_shared<std::vector<Op>>(graph->ops)};
  count(1);
  return kSuccess;
}
Result cuGraphUpload(RawGraphExec, RawStream stream) { return enter("cuGraphUpload", stream->name); }
Result cuGraphLaunch(RawGraphExec exec, RawStream stream) {
  if (const Result result = enter("cuGraphLaunch", stream->name)) return result;
  const auto ops = exec->ops;
  for (size_t i = 0; i < ops->size(); ++i) stream->push([ops, i] { (*ops)[i](); });
  return kSuccess;
}
Result cuGraphDestroy(RawGraph graph) {
  delete graph;
  count(-1);
  return enter("cuGraphDestroy");
}
Result cuGraphExecDestroy(RawGraphExec exec) {
  delete exec;
  count(-1);
  return enter("cuGraphExecDestroy");
}

Result cuModuleLoadData(RawModule* module, const void* image) {
  if (const Result result = enter("cuModuleLoadData")) return result;
  const std::string code = static_cast<const char*>(image);
  if (code.find("trap;") == std::string::npos) return kNotSupported;
  *module = new CUmod_st{code};
  count(1);
  return kSuccess;
}
Result cuModuleUnload(RawModule module) {
  delete module;
  count(-1);
  return enter("cuModuleUnload");
}
Result cuModuleGetFunction(RawFunction* function, RawModule module, const char* name) {
  *function = &trapFunction;
  return module->code.find(name) == std::string::npos ? kNotFound : kSuccess;
}
Result cuLaunchKernel(RawFunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                      RawStream stream, void**, void**) {
  if (const Result result = enter("cuLaunchKernel", stream->name)) return result;
  stream->push([] {
    trapped = true;
    fakeCudaBreak(kLaunchFailed);
  });
  return kSuccess;
}

}  // extern "C"
