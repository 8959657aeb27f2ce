#include "addon/stages.h"

#include <map>
#include <string>

#include "addon/convert.h"
#include "addon/cuda_stages.h"
#include "pi05/engine_stages.h"
#include "trt/machine.h"

namespace turbopi::addon {
namespace {

pi05::PlanSet::Plan planAt(const Napi::Object& plans, const char* graph) {
  const Napi::Object plan = objectAt(plans, graph);
  return {string(plan, "path"), planKey(objectAt(plan, "key"))};
}

/// {kind: 'tensorrt', plans: {vision, prefix, denoise}}, each plan {path, key}.
OpenStages tensorrt(const Napi::Object& object) {
  const Napi::Object plans = objectAt(object, "plans");
  const pi05::PlanSet set{planAt(plans, "vision"), planAt(plans, "prefix"), planAt(plans, "denoise")};
  return [set](const cuda::DriverPtr& driver, int device) {
    const trt::LibraryPtr library = trt::Library::load();
    pi05::PlanSet here = set;
    for (auto* plan : {&here.vision, &here.prefix, &here.denoise})
      trt::addMachine(plan->key, *library, *driver, device);
    return pi05::openEngines(library, here, {});
  };
}

const std::map<std::string, OpenStages (*)(const Napi::Object&)> kKinds = {{"cuda", cudaStages}, {"tensorrt", tensorrt}};

}  // namespace

OpenStages stages(const Napi::Object& object) {
  const std::string kind = string(object, "kind");
  const auto found = kKinds.find(kind);
  if (found != kKinds.end()) return found->second(object);
  std::string known;
  for (const auto& entry : kKinds) known += (known.empty() ? "" : ", ") + entry.first;
  throw Napi::TypeError::New(object.Env(), "kind is " + kind + ", expected one of " + known);
}

}  // namespace turbopi::addon
