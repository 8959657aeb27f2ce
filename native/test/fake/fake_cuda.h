#pragma once

/// The controls of the stand-in libcuda.so.1: a CUDA driver of this project's own writing, in which a stream is a
/// thread and device memory is heap. Ops of one stream run in order; ops of two streams run at the same time unless
/// events order them, so that a missing event is a data race that the thread sanitizer sees. Copies read and write
/// their memory when they run, not when they are called. Only what this project calls is there.

extern "C" {
/// The call number `after` + 1 of `function` (counted from now) returns `code`.
void fakeCudaFail(const char* function, int after, int code);
/// From now on every call that reports errors returns `code`, as after a fault on the device; 0 heals.
void fakeCudaBreak(int code);
/// One line a call, since the start or the last clear. The pointer is valid until the next call of this function.
const char* fakeCudaLog();
void fakeCudaClearLog();
/// Objects and blocks that were made and not given back.
int fakeCudaLive();
/// Every op takes at least this long.
void fakeCudaSlow(int microseconds);
/// Puts a host function into a stream as if it were a kernel. Returns a CUDA status.
int fakeCudaKernel(void* stream, const char* name, void (*run)(void*), void (*drop)(void*), void* data);
/// What a call that may not be captured does to a stream that is capturing. Returns whether it was.
bool fakeCudaUncapturable(void* stream);
}
