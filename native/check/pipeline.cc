#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>

#include "check/stand_in.h"

namespace turbopi::check {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds(Clock::time_point from) {
  return std::chrono::duration<double, std::milli>(Clock::now() - from).count();
}

void requireActions(const std::vector<float>& got, const std::vector<float>& expected, const std::string& what) {
  require(got.size() == expected.size(), what + ": wrong number of actions");
  for (size_t i = 0; i < got.size(); ++i)
    require(std::fabs(got[i] - expected[i]) <= 1e-3f + 1e-5f * std::fabs(expected[i]),
            what + ": action " + std::to_string(i) + " is " + std::to_string(got[i]) + ", expected " +
                std::to_string(expected[i]));
}

std::string everyShape(const cuda::DriverPtr& driver, const Options& options) {
  int cases = 0;
  for (const int lanes : {1, 2}) {
    StandIn gpu(driver, options.kernels, lanes, 2, {});
    const pi05::ModelShape shape = standInShape();
    for (const int steps : {1, 2, 10}) {
      gpu.setModulation(steps);
      for (const int64_t batch : {1, 2})
        for (const int64_t bucket : shape.tokenBuckets)
          for (const int64_t cameras : {1, 2}) {
            const int number = 1000 + 17 * cases;
            const auto input = toy::frame(shape, number, batch, cameras, bucket - 5, bucket);
            const auto act = toy::act(shape, number, batch, steps);
            const int slot = cases++ % 2;
            auto perceived = gpu.submit(exec::PerceiveJob{slot, input});
            auto acted = gpu.submit(exec::ActJob{pi05::wholeSlot(slot, batch), act});
            StandIn::done(std::move(perceived));
            requireActions(StandIn::done(std::move(acted)).act.actions, toy::actions(shape, input, act),
                           "case " + std::to_string(cases));
          }
    }
  }
  return std::to_string(cases) + " cases of batch, bucket, cameras and steps equal the host's";
}

std::string traceAgrees(const cuda::DriverPtr& driver, const Options& options) {
  StandIn gpu(driver, options.kernels, 2, 2, {});
  gpu.setModulation(10);
  const auto input = standInFrame(321);
  const auto act = toy::act(standInShape(), 321, 1, 10);
  auto perceived = gpu.submit(exec::PerceiveJob{0, input});
  const auto replayed = StandIn::done(gpu.submit(exec::ActJob{pi05::wholeSlot(0, 1), act})).act.actions;
  StandIn::done(std::move(perceived));
  const auto trace = StandIn::done(gpu.submit(exec::TraceJob{1, input, act})).trace;
  require(trace.act.actions == replayed, "the captured graphs and the single steps differ");
  require(trace.keys.size() == 18 && trace.x.size() == 10 &&
              trace.keys[3] == toy::reference(standInShape(), input, act).keys[3],
          "a traced tensor differs from the host's");
  return "replayed graphs and single steps give the same bits";
}

/// Frames as fast as the queue takes them; every result is compared. Returns milliseconds a frame.
double stream(StandIn& gpu, int frames, int slots, int steps) {
  const pi05::ModelShape shape = standInShape();
  struct Pair {
    int number;
    std::future<exec::Outcome> perceived, acted;
  };
  std::deque<Pair> waiting;
  const auto collect = [&] {
    Pair pair = std::move(waiting.front());
    waiting.pop_front();
    StandIn::done(std::move(pair.perceived));
    const auto outcome = StandIn::done(std::move(pair.acted));
    requireActions(outcome.act.actions,
                   toy::actions(shape, standInFrame(pair.number), toy::act(shape, pair.number, 1, steps)),
                   "frame " + std::to_string(pair.number));
  };
  // Frames are made before the clock starts; only a few different ones, each with its own number.
  constexpr int kDistinct = 64;
  std::vector<pi05::PerceiveInput> inputs;
  for (int i = 0; i < kDistinct; ++i) inputs.push_back(standInFrame(i));
  const auto start = Clock::now();
  for (int frame = 0; frame < frames; ++frame) {
    const int number = frame % kDistinct;
    waiting.push_back({number, gpu.submit(exec::PerceiveJob{frame % slots, inputs[static_cast<size_t>(number)]}),
                       gpu.submit(exec::ActJob{pi05::wholeSlot(frame % slots, 1), toy::act(shape, number, 1, steps)})});
    while (waiting.size() > 8) collect();
  }
  while (!waiting.empty()) collect();
  return milliseconds(start) / frames;
}

/// Every frame's own number, 0 … frames - 1, through both lanes.
std::string numberedFrames(const cuda::DriverPtr& driver, const Options& options, int frames) {
  StandIn gpu(driver, options.kernels, 2, 2, {});
  const pi05::ModelShape shape = standInShape();
  gpu.setModulation(10);
  std::deque<std::pair<int, std::future<exec::Outcome>>> waiting;
  const auto collect = [&] {
    auto next = std::move(waiting.front());
    waiting.pop_front();
    const auto outcome = StandIn::done(std::move(next.second));
    requireActions(outcome.act.actions,
                   toy::actions(shape, standInFrame(next.first), toy::act(shape, next.first, 1, 10)),
                   "frame " + std::to_string(next.first));
  };
  for (int number = 0; number < frames; ++number) {
    gpu.submit(exec::PerceiveJob{number % 2, standInFrame(number)});
    waiting.emplace_back(number, gpu.submit(exec::ActJob{pi05::wholeSlot(number % 2, 1), toy::act(shape, number, 1, 10)}));
    while (waiting.size() > 8) collect();
  }
  while (!waiting.empty()) collect();
  return std::to_string(frames) + " frames, each came back with its own number";
}

std::string shutdown(const cuda::DriverPtr& driver, const Options& options, int rounds) {
  const auto used = [&] {
    size_t freeBytes = 0;
    size_t total = 0;
    driver->check(driver->memGetInfo(&freeBytes, &total), "cuMemGetInfo");
    return total - freeBytes;
  };
  size_t before = 0;
  for (int round = 0; round < rounds; ++round) {
    {
      Load load;
      load.kind = Load::Kind::kWait;
      load.perceiveNs = 2000000;
      load.stepNs = 200000;
      StandIn gpu(driver, options.kernels, 2, 2, load);
      gpu.setModulation(10);
      for (int number = 0; number < 6; ++number) {
        gpu.submit(exec::PerceiveJob{number % 2, standInFrame(number)});
        gpu.submit(exec::ActJob{pi05::wholeSlot(number % 2, 1), toy::act(standInShape(), number, 1, 10)});
      }
    }
    if (round == 0) before = used();
  }
  const size_t after = used();
  require(after <= before + (size_t{4} << 20),
          "device memory grew by " + std::to_string((after - before) >> 20) + " MiB");
  return std::to_string(rounds) + " sessions dropped with work in flight, no device memory kept";
}

struct Timing {
  double sequentialMs;
  double pipelinedMs;
};

Timing compare(const cuda::DriverPtr& driver, const Options& options, const Load& load, int frames) {
  const auto timed = [&](int lanes) {
    StandIn gpu(driver, options.kernels, lanes, 2, load);
    gpu.setModulation(10);
    stream(gpu, 8, 2, 10);
    return stream(gpu, frames, 2, 10);
  };
  // Alternating, so that a change of clocks meets both sides.
  std::vector<double> one;
  std::vector<double> two;
  for (int round = 0; round < 3; ++round) {
    one.push_back(timed(1));
    two.push_back(timed(2));
  }
  std::sort(one.begin(), one.end());
  std::sort(two.begin(), two.end());
  return {one[1], two[1]};
}

void reportTiming(Report& report, const std::string& name, const Timing& timing) {
  report.figure(name + ": sequential", timing.sequentialMs, "ms a frame");
  report.figure(name + ": pipelined", timing.pipelinedMs, "ms a frame");
  report.figure(name + ": sequential / pipelined", timing.sequentialMs / timing.pipelinedMs, "×");
}

double percentile(std::vector<double> values, double p) {
  require(!values.empty(), "no values were measured");
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<size_t>(p * static_cast<double>(values.size())))];
}

/// What passes on the GPU between the end of one act and the start of the next when acts are queued without a pause.
void replayGaps(Report& report, const cuda::DriverPtr& driver, const Options& options, int frames) {
  Load load;
  load.kind = Load::Kind::kWait;
  load.stepNs = 500000;
  constexpr int kSteps = 10;
  StandIn gpu(driver, options.kernels, 2, 2, load, static_cast<unsigned>((frames + 16) * (kSteps + 2)));
  gpu.setModulation(kSteps);
  stream(gpu, frames, 2, kSteps);
  std::vector<double> gaps;
  const std::vector<uint64_t> stamps = gpu.stamps(driver);
  // Ten ends follow a start; the gap is from the last of them to the next start. The first replays are warm-up.
  for (size_t i = stamps.size() / 10; i + 1 < stamps.size(); ++i)
    if ((stamps[i] & 1) == 1 && (stamps[i + 1] & 1) == 0)
      gaps.push_back(static_cast<double>((stamps[i + 1] >> 1) - (stamps[i] >> 1)) * 1e-3);
  report.figure("replay gap, p50", percentile(gaps, 0.5), "µs");
  report.figure("replay gap, p99", percentile(gaps, 0.99), "µs");
  report.figure("replay gaps measured", static_cast<double>(gaps.size()), "frames");
}

/// Milliseconds that `rounds` of arithmetic take on an idle GPU.
double arithmeticTime(const Kernels& kernels, int64_t rounds) {
  const cuda::DeviceBuffer sink(kernels.driver(), 256);
  const cuda::Event start(kernels.driver(), true);
  const cuda::Event end(kernels.driver(), true);
  const cuda::Stream stream(kernels.driver(), cuda::Stream::Priority::kNormal);
  for (int i = 0; i < 3; ++i) kernels.launch(stream, "load_arithmetic", int64_t{1} << 18, sink.address(), rounds);
  stream.record(start);
  kernels.launch(stream, "load_arithmetic", int64_t{1} << 18, sink.address(), rounds);
  stream.record(end);
  stream.synchronize();
  return static_cast<double>(end.since(start));
}

}  // namespace

void checkPipeline(Report& report, const cuda::DriverPtr& driver, const Options& options) {
  report.check("stand-in model, every shape", [&] { return everyShape(driver, options); });
  report.check("trace and captured graphs", [&] { return traceAgrees(driver, options); });
  report.check("two lanes, numbered frames",
               [&] { return numberedFrames(driver, options, options.quick ? 40 : 10000); });
  report.check("shutdown with work in flight", [&] { return shutdown(driver, options, options.quick ? 3 : 30); });
}

void measurePipeline(Report& report, const cuda::DriverPtr& driver, const Options& options) {
  report.check("overlap of the lanes", [&] {
    Load wait;
    wait.kind = Load::Kind::kWait;
    wait.perceiveNs = 6000000;
    wait.stepNs = 500000;
    const Timing timing = compare(driver, options, wait, 150);
    reportTiming(report, "6 ms perceive, 10 × 0.5 ms act, on one multiprocessor each", timing);
    require(timing.pipelinedMs < 0.75 * timing.sequentialMs, "the lanes hardly overlap");
    return "lanes overlap";
  });
  report.check("overlap under contention", [&] {
    const Kernels kernels(driver, options.kernels);
    Load contend;
    contend.kind = Load::Kind::kContend;
    contend.arithmeticRounds = 1 << 14;
    contend.arithmeticRounds = static_cast<int64_t>(static_cast<double>(contend.arithmeticRounds) * 6.0 /
                                                    arithmeticTime(kernels, contend.arithmeticRounds));
    contend.stepBytes = int64_t{1} << 31;
    reportTiming(report, "6 ms arithmetic on all multiprocessors, 10 × 2 GiB read",
                 compare(driver, options, contend, 100));
    return "measured";
  });
  report.check("frames without load, and replay gaps", [&] {
    const Timing timing = compare(driver, options, {}, 2000);
    reportTiming(report, "no load: the stand-in model, its launches and the host", timing);
    replayGaps(report, driver, options, 600);
    return "measured";
  });
}

}  // namespace turbopi::check
