#include <cstdlib>
#include <string>

#include "base/error.h"
#include "check.h"
#include "fake_nvml.h"
#include "nvml/cards.h"

using namespace turbopi;

static nvml::Reading readOne(int device) { return nvml::Cards().read({device}).front(); }

TEST("a card tells of its use, its memory, its heat, its errors and who computes on it") {
  *fakeNvmlCard(0) = {};
  const nvml::Reading reading = readOne(0);
  CHECK(reading.reason.empty() && reading.device == 0);
  CHECK(reading.name == "Stand-in card" && reading.uuid == "GPU-00000000-0000-0000-0000-00000000001b");
  CHECK(reading.utilisation == 37.0 && reading.memoryUtilisation == 12.0);
  CHECK(reading.memoryUsed == 4294967296.0 && reading.memoryTotal == 85899345920.0);
  CHECK(reading.celsius == 64.0 && reading.watts == 412.5);
  CHECK(reading.clockReasons == 0u && reading.eccCorrected == 3.0 && reading.eccUncorrected == 0.0);
  CHECK(reading.processes->size() == 1 && reading.processes->front() == 1000);
}

TEST("a card is found by where it sits, whichever ordinal CUDA gives it") {
  setenv("CUDA_VISIBLE_DEVICES", "1,0", 1);
  fakeNvmlCard(0)->celsius = 50;
  fakeNvmlCard(1)->celsius = 70;
  nvml::Cards cards;
  const auto readings = cards.read({0, 1});
  unsetenv("CUDA_VISIBLE_DEVICES");
  CHECK(readings[0].device == 0 && readings[0].celsius == 70.0 && readings[0].pciBusId == "0000:3d:00.0");
  CHECK(readings[1].device == 1 && readings[1].celsius == 50.0 && readings[1].pciBusId == "0000:1b:00.0");
}

TEST("what a card does not tell is absent, and the rest is there") {
  fakeNvmlFail("nvmlDeviceGetUtilizationRates", 3);
  fakeNvmlFail("nvmlDeviceGetTotalEccErrors", 3);
  fakeNvmlFail("nvmlDeviceGetComputeRunningProcesses_v3", 3);
  const nvml::Reading reading = readOne(0);
  CHECK(!reading.utilisation && !reading.memoryUtilisation && !reading.eccCorrected && !reading.processes);
  CHECK(reading.reason.empty() && reading.celsius && reading.watts);
  for (const char* function : {"nvmlDeviceGetUtilizationRates", "nvmlDeviceGetTotalEccErrors",
                               "nvmlDeviceGetComputeRunningProcesses_v3"})
    fakeNvmlFail(function, 0);
}

TEST("reasons of lowered clocks come by their older name where there is no newer one") {
  fakeNvmlCard(0)->clockReasons = 0x60;
  fakeNvmlFail("nvmlDeviceGetCurrentClocksEventReasons", 13);
  CHECK(readOne(0).clockReasons == 0x60u);
  fakeNvmlFail("nvmlDeviceGetCurrentClocksEventReasons", 0);
}

TEST("more processes than there was room for are asked for again") {
  fakeNvmlCard(0)->processes = 200;
  CHECK(readOne(0).processes->size() == 200);
  fakeNvmlCard(0)->processes = 1;
}

TEST("a card that is lost says so, and the others are read") {
  setenv("FAKE_CUDA_DEVICES", "2", 1);
  nvml::Cards cards;
  CHECK(cards.read({1}).front().reason.empty());
  fakeNvmlFail("nvmlDeviceGetHandleByPciBusId_v2", 15);
  CHECK_SAYS(cards.read({1}).front().reason, "nvmlDeviceGetHandleByPciBusId: made by a test (15)");
  fakeNvmlFail("nvmlDeviceGetHandleByPciBusId_v2", 0);
  const auto readings = cards.read({7, 0});
  unsetenv("FAKE_CUDA_DEVICES");
  CHECK_SAYS(readings[0].reason, "GPU 7 was asked for, there are 2");
  CHECK(readings[0].device == 7 && readings[1].reason.empty());
}

TEST("without the library, or with one that does not start, the reason is told") {
  try {
    nvml::Library::load("libturbo_pi_absent.so.1");
    CHECK(false);
  } catch (const Error& error) {
    CHECK_SAYS(error.what(), "libturbo_pi_absent.so.1");
    CHECK_SAYS(error.hint(), "NVIDIA_DRIVER_CAPABILITIES");
  }
  setenv("FAKE_NVML_INIT", "9", 1);
  CHECK_SAYS(check::thrownBy([] { nvml::Cards().read({0}); }), "nvmlInit: made by a test (9)");
  unsetenv("FAKE_NVML_INIT");
}
