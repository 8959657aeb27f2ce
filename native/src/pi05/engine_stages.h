#pragma once

#include <string>

#include "base/log.h"
#include "pi05/stage.h"
#include "trt/engine.h"
#include "trt/plan_cache.h"

namespace turbopi::pi05 {

/// The three plans of a model, each with the key it must have been built under.
struct PlanSet {
  struct Plan {
    std::string path;
    trt::PlanKey key;
  };
  Plan vision;
  Plan prefix;
  Plan denoise;
};

/// Opens the plans and checks that they belong together: same widths, layers and element type.
std::unique_ptr<StageMaker> openEngines(const trt::LibraryPtr& library, const PlanSet& plans, const LogSink& log);

}  // namespace turbopi::pi05
