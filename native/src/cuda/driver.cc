#include "cuda/driver.h"

#include <fstream>
#include <utility>

#include "base/error.h"

namespace turbopi::cuda {
namespace {

constexpr int kOldestDriver = 12000;
constexpr const char* kContainerHint =
    "in a container, pass --runtime nvidia --gpus all; check that nvidia-smi works on the host";

template <typename Signature>
struct Destroyed;
template <typename... Parameters>
struct Destroyed<Result(Parameters...)> {
  static Result call(Parameters...) { return kContextIsDestroyed; }
};

}  // namespace

std::string versionText(int cudaVersion) {
  return std::to_string(cudaVersion / 1000) + "." + std::to_string(cudaVersion % 1000 / 10);
}

Driver::Driver(DynLib library) : library_(std::move(library)) {
#define TURBO_PI_RESOLVE(member, symbol, parameters) member = library_.get<Result parameters>(symbol);
  TURBO_PI_CUDA_FUNCTIONS(TURBO_PI_RESOLVE)
#undef TURBO_PI_RESOLVE
}

std::shared_ptr<Driver> Driver::load() {
  std::shared_ptr<Driver> driver(
      new Driver(DynLib::open({"libcuda.so.1"}, std::string("install NVIDIA's driver; ") + kContainerHint)));
  const Result started = driver->init(0);
  if (started == kNoDevice) throw Error("the CUDA driver finds no GPU", kContainerHint);
  driver->check(started, "cuInit");
  driver->check(driver->driverGetVersion(&driver->version_), "cuDriverGetVersion");
  require(driver->version_ >= kOldestDriver,
          "the driver supports CUDA " + versionText(driver->version_) + ", at least " + versionText(kOldestDriver) +
              " is needed",
          "update NVIDIA's driver");
  require(driver->deviceCount() > 0, "the CUDA driver finds no GPU", kContainerHint);
  return driver;
}

void Driver::cutOff() {
#define TURBO_PI_CUT_OFF(member, symbol, parameters) member = Destroyed<Result parameters>::call;
  TURBO_PI_CUDA_CONTEXT_FUNCTIONS(TURBO_PI_CUT_OFF)
#undef TURBO_PI_CUT_OFF
  cutOff_ = true;
}

void Driver::fail(Result result, const char* what) const {
  const char* name = nullptr;
  const char* text = nullptr;
  if (getErrorName(result, &name) != kSuccess || name == nullptr) name = "unknown CUDA error";
  if (getErrorString(result, &text) != kSuccess || text == nullptr) text = "no description";
  const std::string reason = std::string(what) + ": " + name + " (" + std::to_string(result) + "), " + text;
  if (result == kOutOfMemory) throw OutOfMemory(reason, "lower --max-batch, or free the GPU of other processes");
  throw Error(reason);
}

std::string Driver::description() const {
  const std::string cuda = "CUDA " + versionText(version_);
  std::ifstream file("/proc/driver/nvidia/version");
  // One line such as "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build …".
  std::string word;
  while (file >> word)
    if (word.find('.') != std::string::npos && word.find_first_not_of("0123456789.") == std::string::npos)
      return word + ", " + cuda;
  return cuda;
}

int Driver::deviceCount() const {
  int count = 0;
  check(deviceGetCount(&count), "cuDeviceGetCount");
  return count;
}

DeviceInfo Driver::device(int ordinal) const {
  const int count = deviceCount();
  require(ordinal >= 0 && ordinal < count,
          "GPU " + std::to_string(ordinal) + " was asked for, there are " + std::to_string(count));
  DeviceId id = 0;
  check(deviceGet(&id, ordinal), "cuDeviceGet");
  char name[256] = {};
  check(deviceGetName(name, sizeof name - 1, id), "cuDeviceGetName");
  char bus[32] = {};
  check(deviceGetPciBusId(bus, sizeof bus - 1, id), "cuDeviceGetPCIBusId");
  DeviceInfo info;
  info.name = name;
  info.pciBusId = bus;
  check(deviceGetAttribute(&info.major, kAttributeComputeCapabilityMajor, id), "cuDeviceGetAttribute");
  check(deviceGetAttribute(&info.minor, kAttributeComputeCapabilityMinor, id), "cuDeviceGetAttribute");
  check(deviceGetAttribute(&info.multiprocessors, kAttributeMultiprocessorCount, id), "cuDeviceGetAttribute");
  check(deviceTotalMem(&info.memoryBytes, id), "cuDeviceTotalMem");
  return info;
}

Context::Context(DriverPtr driver, int ordinal) : driver_(std::move(driver)) {
  driver_->check(driver_->deviceGet(&device_, ordinal), "cuDeviceGet");
  driver_->check(driver_->primaryCtxRetain(&context_, device_), "cuDevicePrimaryCtxRetain");
}

Context::~Context() { driver_->release(driver_->primaryCtxRelease(device_)); }

void Context::makeCurrent() const { driver_->check(driver_->ctxSetCurrent(context_), "cuCtxSetCurrent"); }

}  // namespace turbopi::cuda
