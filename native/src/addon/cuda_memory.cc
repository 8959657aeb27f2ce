#include "addon/cuda_memory.h"

#include "addon/background.h"
#include "addon/convert.h"
#include "addon/cuda_stages.h"
#include "pi05/cuda_memory.h"

namespace turbopi::addon {
namespace {

cuda::DeviceInfo deviceOrH100(int ordinal) {
  try {
    return cuda::Driver::load()->device(ordinal);
  } catch (const Error&) {
    cuda::DeviceInfo info;
    info.major = 9;
    info.multiprocessors = 132;
    return info;
  }
}

Napi::Value memoryObject(Napi::Env env, const pi05::CudaMemory& memory) {
  Napi::Object out = Napi::Object::New(env);
  const auto set = [&](const char* name, size_t bytes) { out.Set(name, static_cast<double>(bytes)); };
  set("weights", memory.weights);
  set("slots", memory.slots);
  set("inputs", memory.inputs);
  set("workspaces", memory.workspaces);
  return out;
}

}  // namespace

Napi::Value cudaMemory(const Napi::CallbackInfo& info) {
  if (info.Length() < 1 || !info[0].IsObject()) throw Napi::TypeError::New(info.Env(), "cudaMemory takes an object");
  const Napi::Object object = info[0].As<Napi::Object>();
  const pi05::CudaRequest request = cudaRequest(objectAt(object, "stages"));
  const pi05::SessionOptions options = sessionOptions(object);
  const auto device = static_cast<int>(integer(object, "device"));
  return Background<pi05::CudaMemory>::run(
      info.Env(), [=] { return pi05::cudaMemory(request, options, deviceOrH100(device)); }, memoryObject);
}

}  // namespace turbopi::addon
