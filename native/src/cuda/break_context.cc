#include "cuda/break_context.h"

#include "base/error.h"

namespace turbopi::cuda {

void breakContext(Driver& driver, const Context& context) {
  const auto synchronize = driver.get<Result()>("cuCtxSynchronize");
  const auto reset = driver.get<Result(DeviceId)>("cuDevicePrimaryCtxReset_v2");
  const auto state = driver.get<Result(DeviceId, unsigned*, int*)>("cuDevicePrimaryCtxGetState");
  // A thread of the driver's that is about to call back (Stream::notify) would do so when whom it calls is gone.
  driver.release(synchronize());
  driver.check(reset(context.device()), "cuDevicePrimaryCtxReset");
  driver.cutOff();
  unsigned flags = 0;
  int active = 0;
  driver.check(state(context.device(), &flags, &active), "cuDevicePrimaryCtxGetState");
  require(active == 0, "the card's primary context is still there");
}

}  // namespace turbopi::cuda
