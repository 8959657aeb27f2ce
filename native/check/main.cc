#include <cstdio>
#include <cstring>
#include <string>

#include "check/stand_in.h"
#include "trt/library.h"

/// gpu_check KERNELS.ptx REPORT.json [--quick]: exercises the native runtime's CUDA side on this machine's GPU.

using namespace turbopi;

static std::string probe(check::Report& report, const cuda::DriverPtr& driver) {
  const cuda::DeviceInfo gpu = driver->device(0);
  report.fact("device", gpu.name);
  report.fact("compute capability", std::to_string(gpu.major) + "." + std::to_string(gpu.minor));
  report.fact("driver", driver->description());
  report.figure("multiprocessors", gpu.multiprocessors, "");
  report.figure("device memory", static_cast<double>(gpu.memoryBytes) / (1 << 30), "GiB");
  try {
    report.fact("TensorRT", trt::Library::load()->version());
  } catch (const Error& error) {
    report.fact("TensorRT", std::string("not found: ") + error.what());
  }
  return gpu.name + ", compute capability " + std::to_string(gpu.major) + "." + std::to_string(gpu.minor);
}

int main(int count, char** arguments) {
  check::Options options;
  std::string reportPath;
  for (int i = 1; i < count; ++i) {
    if (std::strcmp(arguments[i], "--quick") == 0) {
      options.quick = true;
    } else if (options.kernels.empty()) {
      options.kernels = arguments[i];
    } else {
      reportPath = arguments[i];
    }
  }
  if (reportPath.empty()) {
    std::fprintf(stderr, "usage: gpu_check KERNELS.ptx REPORT.json [--quick]\n");
    return 2;
  }
  check::Report report;
  try {
    const cuda::DriverPtr driver = cuda::Driver::load();
    report.check("probe", [&] { return probe(report, driver); });
    const cuda::Context context(driver, 0);
    context.makeCurrent();
    check::checkPrimitives(report, driver, options);
    check::checkPipeline(report, driver, options);
    if (!options.quick) {
      check::measurePipeline(report, driver, options);
      check::measureCeilings(report, driver, options);
    }
    report.write(reportPath);
  } catch (const Error& error) {
    std::fprintf(stderr, "gpu_check: %s%s%s\n", error.what(), error.hint().empty() ? "" : "; ", error.hint().c_str());
    return 1;
  }
  return report.failed() == 0 ? 0 : 1;
}
