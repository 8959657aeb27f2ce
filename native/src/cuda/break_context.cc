#include "cuda/break_context.h"

#include "base/error.h"
#include "cuda/stream.h"

namespace turbopi::cuda {
namespace {

/// PTX that every supported card's driver compiles.
constexpr const char* kTrap = R"(
.version 7.0
.target sm_80
.address_size 64
.visible .entry trap_here() {
  trap;
  ret;
}
)";

struct Module {
  Module(const DriverPtr& owner, const char* code) : driver(owner) {
    driver->check(driver->moduleLoadData(&raw, code), "cuModuleLoadData");
  }
  ~Module() { driver->release(driver->moduleUnload(raw)); }
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  DriverPtr driver;
  RawModule raw = nullptr;
};

}  // namespace

void breakContext(const DriverPtr& driver, int ordinal) {
  const Context context(driver, ordinal);
  context.makeCurrent();
  Result result = kSuccess;
  {
    const Module module(driver, kTrap);
    RawFunction trap = nullptr;
    driver->check(driver->moduleGetFunction(&trap, module.raw, "trap_here"), "cuModuleGetFunction");
    const Stream stream(driver, Stream::Priority::kNormal);
    driver->check(driver->launchKernel(trap, 1, 1, 1, 1, 1, 1, 0, stream.raw(), nullptr, nullptr), "cuLaunchKernel");
    result = driver->streamSynchronize(stream.raw());
  }
  driver->release(driver->ctxSetCurrent(nullptr));
  require(result != kSuccess, "the context of GPU " + std::to_string(ordinal) + " did not fail");
}

}  // namespace turbopi::cuda
