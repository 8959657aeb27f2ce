#include "cuda/kernels.h"

#include "base/error.h"
#include "base/mapped_file.h"

namespace turbopi::cuda {
namespace {

// Of cuda.h, in its binary layout: not every driver that TensorRT runs on has these functions.
constexpr int kCooperative = 2;
constexpr int kProgrammaticStreamSerialization = 6;
constexpr int kMaxDynamicSharedBytes = 8;
/// Of 48 KiB, which hold what a kernel declares too.
constexpr size_t kSharedBytesWithoutAsking = 40 * 1024;

struct LaunchAttribute {
  int id;
  char pad[4];
  union {
    int flag;
    char room[64];
  } value;
};
struct LaunchConfig {
  unsigned gridX, gridY, gridZ, blockX, blockY, blockZ, sharedBytes;
  RawStream stream;
  LaunchAttribute* attributes;
  unsigned attributeCount;
};
using LaunchKernelEx = Result(const LaunchConfig*, RawFunction, void**, void**);
using FuncSetAttribute = Result(RawFunction, int, int);
using TensorMapEncodeTiled = Result(TensorMap*, int type, unsigned rank, void* address, const uint64_t* sizes,
                                    const uint64_t* strides, const unsigned* box, const unsigned* elementStrides,
                                    int interleave, int swizzle, int promotion, int outside);

constexpr int kBytes = 0;
constexpr int kBfloat16 = 9;
constexpr int kSwizzle128 = 3;
constexpr int kPromote256 = 3;

}  // namespace

Kernels::Kernels(DriverPtr driver, int device, const std::string& path)
    : driver_(std::move(driver)), device_(driver_->device(device)) {
  const MappedFile file(path);
  driver_->check(driver_->moduleLoadData(&module_, file.data()), ("loading the kernels of " + path).c_str());
}

Kernels::~Kernels() { driver_->release(driver_->moduleUnload(module_)); }

bool Kernels::has(const char* name) const {
  RawFunction found = nullptr;
  return driver_->moduleGetFunction(&found, module_, name) == kSuccess;
}

RawFunction Kernels::function(const char* name, size_t sharedBytes) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  Loaded& loaded = functions_[name];
  if (loaded.function == nullptr) driver_->check(driver_->moduleGetFunction(&loaded.function, module_, name), name);
  if (sharedBytes > loaded.sharedBytes && sharedBytes > kSharedBytesWithoutAsking) {
    driver_->check(driver_->get<FuncSetAttribute>("cuFuncSetAttribute")(loaded.function, kMaxDynamicSharedBytes,
                                                                        static_cast<int>(sharedBytes)),
                   name);
    loaded.sharedBytes = sharedBytes;
  }
  return loaded.function;
}

void Kernels::start(const Stream& stream, const char* name, const LaunchShape& shape, void** parameters) const {
  LaunchAttribute attribute = {};
  attribute.id = shape.cooperative ? kCooperative : kProgrammaticStreamSerialization;
  attribute.value.flag = 1;
  const LaunchConfig config = {shape.gridX,
                               shape.gridY,
                               shape.gridZ,
                               shape.block,
                               1,
                               1,
                               static_cast<unsigned>(shape.sharedBytes),
                               stream.raw(),
                               &attribute,
                               shape.cooperative || device_.major >= 9 ? 1u : 0u};
  driver_->check(
      driver_->get<LaunchKernelEx>("cuLaunchKernelEx")(&config, function(name, shape.sharedBytes), parameters, nullptr),
      name);
}

TensorMap Kernels::boxes(DevicePtr address, uint64_t rows, uint64_t columns, uint64_t strideBytes,
                         unsigned boxRows, bool ofBytes) const {
  TensorMap map;
  const uint64_t sizes[] = {columns, rows};
  const uint64_t strides[] = {strideBytes};
  const unsigned box[] = {ofBytes ? 128u : 64u, boxRows};
  const unsigned elementStrides[] = {1, 1};
  driver_->check(driver_->get<TensorMapEncodeTiled>("cuTensorMapEncodeTiled")(
                     &map, ofBytes ? kBytes : kBfloat16, 2, reinterpret_cast<void*>(address), sizes, strides, box, elementStrides, 0,
                     kSwizzle128, kPromote256, 0),
                 "cuTensorMapEncodeTiled");
  return map;
}

}  // namespace turbopi::cuda
