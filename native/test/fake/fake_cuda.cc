#include "fake_cuda.h"

#include <cstdio>
#include <cstring>

#include "fake_cuda_objects.h"

using namespace turbopi::cuda;
using namespace fake;

namespace {

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

Result cuMemAlloc_v2(DevicePtr* address, size_t bytes) {
  if (const Result result = enter("cuMemAlloc_v2")) return result;
  if (const Result result = forbiddenInCapture()) return result;
  void* const block = std::aligned_alloc(512, (bytes + 511) / 512 * 512);
  *address = reinterpret_cast<DevicePtr>(block);
  made(&CUctx_st::others, block, [block] { std::free(block); });
  return kSuccess;
}
Result cuMemFree_v2(DevicePtr address) {
  destroyed(&CUctx_st::others, reinterpret_cast<void*>(address));
  return enter("cuMemFree_v2");
}
Result cuMemHostAlloc(void** address, size_t bytes, unsigned) {
  if (const Result result = enter("cuMemHostAlloc")) return result;
  if (const Result result = forbiddenInCapture()) return result;
  void* const block = std::malloc(bytes);
  *address = block;
  made(&CUctx_st::others, block, [block] { std::free(block); });
  return kSuccess;
}
Result cuMemFreeHost(void* address) {
  destroyed(&CUctx_st::others, address);
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
  auto* const created = new CUstream_st;
  *stream = created;
  made(&CUctx_st::streams, created, [created] {
    {
      const std::lock_guard<std::mutex> lock(created->mutex);
      created->ending = true;
      created->changed.notify_all();
    }
    created->thread.join();
    delete created;
  });
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
  }
  destroyed(&CUctx_st::streams, stream);
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
  made<void*>(&CUctx_st::others, *graph, [raw = *graph] { delete raw; });
  return kSuccess;
}
Result cuLaunchHostFunc(RawStream stream, HostFunction function, void* data) {
  if (const Result result = enter("cuLaunchHostFunc", stream->name)) return result;
  stream->push([=] { function(data); });
  return kSuccess;
}

Result cuEventCreate(RawEvent* event, unsigned) {
  if (const Result result = enter("cuEventCreate")) return result;
  const auto created = std::make_shared<CUevent_st>();
  *event = created.get();
  {
    const std::lock_guard<std::mutex> lock(eventsMutex);
    events()[*event] = created;
  }
  made<void*>(&CUctx_st::others, created.get(), [raw = created.get()] {
    const std::lock_guard<std::mutex> lock(eventsMutex);
    events().erase(raw);
  });
  return kSuccess;
}
Result cuEventDestroy_v2(RawEvent event) {
  destroyed<void*>(&CUctx_st::others, event);
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
  made<void*>(&CUctx_st::others, *exec, [raw = *exec] { delete raw; });
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
  destroyed<void*>(&CUctx_st::others, graph);
  return enter("cuGraphDestroy");
}
Result cuGraphExecDestroy(RawGraphExec exec) {
  destroyed<void*>(&CUctx_st::others, exec);
  return enter("cuGraphExecDestroy");
}

Result cuModuleLoadData(RawModule*, const void*) { return kNotSupported; }
Result cuModuleUnload(RawModule) { return kNotSupported; }
Result cuModuleGetFunction(RawFunction*, RawModule, const char*) { return kNotSupported; }
Result cuLaunchKernel(RawFunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, RawStream, void**,
                      void**) {
  return kNotSupported;
}

}  // extern "C"
