#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

#include "check.h"
#include "toy_gpu.h"

using namespace turbopi;
using exec::GpuThread;
using exec::Outcome;

static const pi05::ModelShape& shape() {
  static const pi05::ModelShape made = toy::plans().open({}).session->shape();
  return made;
}

static std::unique_ptr<GpuThread> open(int lanes = 2, int slots = 2) {
  std::promise<std::string> opened;
  auto made = std::make_unique<GpuThread>(
      [=] { return toy::plans().open({lanes, slots}); },
      [&](const pi05::ModelShape*, const std::string& reason, const std::string&) { opened.set_value(reason); });
  const std::string reason = opened.get_future().get();
  if (!reason.empty()) throw Error(reason);
  return made;
}

static std::future<Outcome> submit(GpuThread& gpu, exec::Work work, uint64_t* number = nullptr) {
  auto promise = std::make_shared<std::promise<Outcome>>();
  std::future<Outcome> future = promise->get_future();
  const uint64_t job =
      gpu.submit(std::move(work), [promise](Outcome&& outcome) { promise->set_value(std::move(outcome)); });
  if (number != nullptr) *number = job;
  return future;
}

static exec::PerceiveJob perceive(int slot, int number) { return {slot, toy::frame(shape(), number, 1, 2, 3, 4)}; }
static exec::ActJob act(int slot, int number, int steps = 3) {
  return {pi05::wholeSlot(slot, 1), toy::act(shape(), number, 1, steps)};
}
static exec::ModulationJob modulation(int steps = 3) { return {steps, toy::modulation(shape(), steps)}; }
static std::vector<float> expected(int number, int steps = 3) {
  return toy::reference(shape(), perceive(0, number).input, act(0, number, steps).input).act.actions;
}

/// Sends frames through both lanes as fast as the queue takes them and checks that each comes back as itself.
static void stream(int lanes, int slots, int frames) {
  const auto gpu = open(lanes, slots);
  submit(*gpu, modulation()).get();
  std::vector<std::future<Outcome>> done;
  std::vector<std::future<Outcome>> acted;
  for (int number = 0; number < frames; ++number) {
    done.push_back(submit(*gpu, perceive(number % slots, number)));
    acted.push_back(submit(*gpu, act(number % slots, number)));
  }
  for (int number = 0; number < frames; ++number) {
    CHECK(done[static_cast<size_t>(number)].get().status == Outcome::Status::kDone);
    const Outcome outcome = acted[static_cast<size_t>(number)].get();
    CHECK(outcome.status == Outcome::Status::kDone);
    CHECK(toy::largestDifference(outcome.act.actions, expected(number)) <= 1e-4f);
  }
}

TEST("every frame of a long stream comes back as itself, in 1 and 2 lanes and any number of slots") {
  stream(2, 2, 1500);
  stream(1, 1, 200);
  stream(1, 2, 200);
  stream(2, 3, 300);
}

TEST("the lanes run at the same time in two streams and one after another in one") {
  fakeCudaSlow(300);
  const auto timed = [](int lanes) {
    const auto gpu = open(lanes, 2);
    submit(*gpu, modulation()).get();
    std::vector<std::future<Outcome>> all;
    // Warm both slots, then watch which stream each op of the second round went to.
    for (int number = 0; number < 2; ++number) {
      all.push_back(submit(*gpu, perceive(number, number)));
      all.push_back(submit(*gpu, act(number, number)));
    }
    for (auto& one : all) one.get();
    fakeCudaClearLog();
    const auto first = submit(*gpu, perceive(0, 5));
    auto second = submit(*gpu, act(0, 5));
    auto third = submit(*gpu, perceive(1, 6));
    second.get();
    third.get();
    std::string log = fakeCudaLog();
    std::vector<std::string> streams;
    for (size_t at = log.find("cuGraphLaunch "); at != std::string::npos; at = log.find("cuGraphLaunch ", at + 1))
      streams.push_back(log.substr(at + 14, log.find('\n', at) - at - 14));
    return streams;
  };
  const auto two = timed(2);
  CHECK(two.size() == 5);
  int perceives = 0;
  for (const auto& stream : two) perceives += stream == two[0];
  CHECK(perceives == 4);
  const auto one = timed(1);
  for (const auto& stream : one) CHECK(stream == one[0]);
  fakeCudaSlow(0);
}

TEST("a job that has not started can be cancelled; one that has, not") {
  const auto gpu = open();
  submit(*gpu, modulation()).get();
  fakeCudaClearLog();
  // For as long as the test looks, however busy the machine is.
  fakeCudaSlow(1'000'000);
  uint64_t first = 0;
  uint64_t second = 0;
  uint64_t third = 0;
  auto started = submit(*gpu, perceive(0, 1), &first);
  auto held = submit(*gpu, perceive(0, 2), &second);
  auto behind = submit(*gpu, act(0, 2), &third);
  while (std::string(fakeCudaLog()).find("cuGraphLaunch ") == std::string::npos) std::this_thread::yield();
  CHECK(gpu->cancel(second));
  CHECK(held.get().status == Outcome::Status::kCancelled);
  CHECK(!gpu->cancel(second) && !gpu->cancel(first) && !gpu->cancel(999));
  fakeCudaSlow(0);
  CHECK(started.get().status == Outcome::Status::kDone);
  const Outcome outcome = behind.get();
  CHECK(outcome.status == Outcome::Status::kDone);
  // The act ran on the frame that was not cancelled.
  CHECK(toy::largestDifference(outcome.act.actions,
                               toy::reference(shape(), perceive(0, 1).input, act(0, 2).input).act.actions) <= 1e-4f);
}

TEST("closing lets work in flight end, cancels the rest and leaves nothing behind") {
  const int before = fakeCudaLive();
  for (int round = 0; round < 20; ++round) {
    auto gpu = open();
    // The slow one stays so for as long as it takes to begin to close, however busy the machine is.
    const bool slow = round % 4 == 3;
    fakeCudaSlow(slow ? 500'000 : round % 4 * 100);
    auto ready = submit(*gpu, modulation());
    std::vector<std::future<Outcome>> all;
    for (int number = 0; number < 12; ++number) {
      all.push_back(submit(*gpu, perceive(number % 2, number)));
      all.push_back(submit(*gpu, act(number % 2, number)));
    }
    if (round % 2 == 0) ready.get();
    std::promise<void> closed;
    gpu->close([&] { closed.set_value(); });
    if (slow) fakeCudaSlow(0);
    const Outcome late = submit(*gpu, perceive(0, 1)).get();
    CHECK(late.status == Outcome::Status::kCancelled);
    CHECK_SAYS(late.reason, "closing");
    closed.get_future().get();
    gpu.reset();
    size_t cancelled = 0;
    for (auto& one : all) {
      const Outcome outcome = one.get();
      CHECK(outcome.status == Outcome::Status::kDone || outcome.status == Outcome::Status::kCancelled);
      cancelled += outcome.status == Outcome::Status::kCancelled;
    }
    // On a slow GPU most were still waiting.
    if (slow) CHECK(cancelled > 12);
    CHECK(fakeCudaLive() == before);
  }
  fakeCudaSlow(0);
}

TEST("a session that is dropped with work in flight ends it and leaves nothing behind") {
  const int before = fakeCudaLive();
  for (int round = 0; round < 20; ++round) {
    auto gpu = open();
    submit(*gpu, modulation());
    std::vector<std::future<Outcome>> all;
    for (int number = 0; number < 6; ++number) {
      all.push_back(submit(*gpu, perceive(number % 2, number)));
      all.push_back(submit(*gpu, act(number % 2, number)));
    }
    gpu.reset();
    for (auto& one : all) one.get();
    CHECK(fakeCudaLive() == before);
  }
}

TEST("a wrong input fails its own job alone") {
  const auto gpu = open();
  submit(*gpu, modulation()).get();
  auto bad = perceive(0, 1);
  bad.input.tokens.pop_back();
  const Outcome refused = submit(*gpu, bad).get();
  CHECK(refused.status == Outcome::Status::kInvalid);
  CHECK_SAYS(refused.reason, "bucket");
  CHECK(submit(*gpu, perceive(0, 1)).get().status == Outcome::Status::kDone);
  CHECK(toy::largestDifference(submit(*gpu, act(0, 1)).get().act.actions, expected(1)) <= 1e-4f);
}

TEST("a job for which there is no memory fails alone, and the session goes on") {
  const auto gpu = open();
  submit(*gpu, modulation()).get();
  fakeCudaFail("cuGraphInstantiateWithFlags", 0, 2);
  const Outcome failed = submit(*gpu, perceive(0, 1)).get();
  CHECK(failed.status == Outcome::Status::kExhausted);
  CHECK_SAYS(failed.reason, "cuGraphInstantiate");
  CHECK_SAYS(failed.hint, "--max-batch");
  CHECK(submit(*gpu, perceive(0, 2)).get().status == Outcome::Status::kDone);
  fakeCudaFail("cuGraphInstantiateWithFlags", 0, 2);
  CHECK(submit(*gpu, act(0, 2)).get().status == Outcome::Status::kExhausted);
  const Outcome acted = submit(*gpu, act(0, 2)).get();
  CHECK(acted.status == Outcome::Status::kDone);
  CHECK(toy::largestDifference(acted.act.actions, expected(2)) <= 1e-4f);
  fakeCudaFail("cuMemAlloc_v2", 0, 2);
  CHECK(submit(*gpu, modulation(5)).get().status == Outcome::Status::kExhausted);
  CHECK(submit(*gpu, modulation(5)).get().status == Outcome::Status::kDone);
}

TEST("graphs of other sizes give way to one that there is no memory for beside them") {
  const auto gpu = open();
  CHECK(submit(*gpu, perceive(0, 1)).get().status == Outcome::Status::kDone);
  fakeCudaClearLog();
  fakeCudaFail("cuGraphInstantiateWithFlags", 0, 2);
  CHECK(submit(*gpu, exec::PerceiveJob{1, toy::frame(shape(), 1, 1, 1, 3, 4)}).get().status == Outcome::Status::kDone);
  CHECK_SAYS(std::string(fakeCudaLog()), "cuGraphExecDestroy");
}

TEST("after a device fault every job fails with the first reason, and closing still works") {
  const int before = fakeCudaLive();
  auto gpu = open();
  submit(*gpu, modulation()).get();
  fakeCudaSlow(200'000);
  auto inFlight = submit(*gpu, perceive(0, 1));
  auto chained = submit(*gpu, act(0, 1));
  std::this_thread::sleep_for(std::chrono::milliseconds(3));
  fakeCudaBreak(719);
  const Outcome first = inFlight.get();
  const Outcome second = chained.get();
  CHECK(first.status == Outcome::Status::kFailed || second.status == Outcome::Status::kFailed);
  const Outcome later = submit(*gpu, perceive(1, 2)).get();
  CHECK(later.status == Outcome::Status::kFailed);
  CHECK_SAYS(later.reason, "the GPU session has failed: ");
  // The fault meets the act in its stream, or while it is put there.
  const auto named = [&](const Outcome& job) {
    return job.status == Outcome::Status::kFailed && later.reason.find(job.reason) != std::string::npos;
  };
  CHECK(named(first) || named(second));
  gpu.reset();
  fakeCudaBreak(0);
  fakeCudaSlow(0);
  CHECK(fakeCudaLive() == before);
}

TEST("a trace waits for work in flight and has the GPU to itself") {
  const auto gpu = open();
  submit(*gpu, modulation()).get();
  std::vector<std::future<Outcome>> around;
  for (int number = 0; number < 4; ++number) {
    around.push_back(submit(*gpu, perceive(number % 2, number)));
    around.push_back(submit(*gpu, act(number % 2, number)));
  }
  auto traced = submit(*gpu, exec::TraceJob{0, perceive(0, 7).input, act(0, 7).input});
  around.push_back(submit(*gpu, perceive(1, 8)));
  auto last = submit(*gpu, act(1, 8));
  const Outcome outcome = traced.get();
  CHECK(outcome.status == Outcome::Status::kDone);
  CHECK(toy::largestDifference(outcome.trace.act.actions, expected(7)) <= 1e-4f);
  for (auto& one : around) CHECK(one.get().status == Outcome::Status::kDone);
  CHECK(toy::largestDifference(last.get().act.actions, expected(8)) <= 1e-4f);
}

TEST("many threads may submit and cancel at the same time") {
  const auto gpu = open(2, 3);
  submit(*gpu, modulation()).get();
  std::atomic<int> ended{0};
  std::vector<std::thread> threads;
  for (int slot = 0; slot < 3; ++slot)
    threads.emplace_back([&, slot] {
      for (int number = 0; number < 60; ++number) {
        submit(*gpu, perceive(slot, number)).get();
        uint64_t job = 0;
        auto acted = submit(*gpu, act(slot, number), &job);
        if (number % 5 == 0) gpu->cancel(job);
        const Outcome outcome = acted.get();
        if (outcome.status == Outcome::Status::kDone &&
            toy::largestDifference(outcome.act.actions, expected(number)) > 1e-4f)
          return;
        ++ended;
      }
    });
  for (auto& thread : threads) thread.join();
  CHECK(ended == 180);
}

TEST("a session that can not open says why, and refuses jobs with that reason") {
  std::promise<std::string> opened;
  GpuThread gpu([]() -> exec::OpenSession { throw Error("no engine", "build one"); },
                [&](const pi05::ModelShape* none, const std::string& reason, const std::string& hint) {
                  opened.set_value(none == nullptr ? reason + "/" + hint : "");
                });
  CHECK(opened.get_future().get() == "no engine/build one");
  const Outcome outcome = submit(gpu, perceive(0, 1)).get();
  CHECK(outcome.status == Outcome::Status::kFailed);
  CHECK_SAYS(outcome.reason, "no engine");
}
