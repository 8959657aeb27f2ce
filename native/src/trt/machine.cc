#include "trt/machine.h"

namespace turbopi::trt {

void addMachine(PlanKey& key, const Library& library, const cuda::Driver& driver, int device) {
  const cuda::DeviceInfo info = driver.device(device);
  key.add("TensorRT", library.version());
  key.add("GPU", info.name);
  key.add("compute capability", std::to_string(info.major) + "." + std::to_string(info.minor));
  key.add("driver", driver.description());
}

}  // namespace turbopi::trt
