#include <future>
#include <random>
#include <thread>

#include "check.h"
#include "joining_stages.h"

using namespace turbopi;
using exec::GpuThread;
using exec::Outcome;
using pi05::RowPlace;
using pi05::Session;

static constexpr int kSteps = 3;

static const pi05::ModelShape& joiningShape() {
  static const pi05::ModelShape made = toy::JoiningStages(toy::plans().engines()).shape();
  return made;
}

/// A frame whose prompt has `tokens` tokens in a bucket that takes them.
static pi05::PerceiveInput frame(int number, int64_t batch, int64_t tokens, std::vector<int32_t> keep = {}) {
  auto input = toy::frame(joiningShape(), number, batch, 2, tokens, tokens > 4 ? 8 : 4);
  input.keep = std::move(keep);
  return input;
}

static void perceive(Session& session, int slot, const pi05::PerceiveInput& input) {
  session.startPerceive(slot, input);
  while (!session.perceiveDone(slot)) std::this_thread::yield();
  session.finishPerceive(slot);
}

static std::vector<float> act(Session& session, const std::vector<RowPlace>& rows, const pi05::ActInput& input) {
  session.startAct(rows, input);
  while (!session.actDone()) std::this_thread::yield();
  return session.finishAct().actions;
}

/// The actions of one row of a frame, whose noise, factors and targets are those of row `at` of `input`.
static std::vector<float> expected(const pi05::ModelShape& shape, const pi05::PerceiveInput& from, int row,
                                   const pi05::ActInput& input, int at) {
  pi05::ActInput own;
  own.batch = from.batch;
  own.steps = input.steps;
  const auto repeated = [&](const std::vector<float>& values, int64_t start, int64_t size) {
    std::vector<float> all;
    for (int64_t i = 0; i < from.batch; ++i) all.insert(all.end(), values.begin() + start, values.begin() + start + size);
    return all;
  };
  const int64_t floats = shape.actionFloats(1);
  own.noise = repeated(input.noise, at * floats, floats);
  own.targets = repeated(input.targets, at * floats, floats);
  const int64_t factors = shape.updateFloats(1);
  for (int step = 0; step < input.steps; ++step) {
    const auto rows = repeated(input.updates, step * shape.updateFloats(input.batch) + at * factors, factors);
    own.updates.insert(own.updates.end(), rows.begin(), rows.end());
  }
  const auto all = toy::reference(shape, from, own).act.actions;
  return {all.begin() + row * floats, all.begin() + (row + 1) * floats};
}

static std::vector<float> both(std::vector<float> first, const std::vector<float>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

static size_t logged(const std::string& what) {
  const std::string log = fakeCudaLog();
  size_t count = 0;
  for (size_t at = log.find(what); at != std::string::npos; at = log.find(what, at + 1)) ++count;
  return count;
}

TEST("rows of two slots are denoised together, in any order, each to its own actions") {
  for (const int lanes : {1, 2}) {
    const exec::OpenSession gpu = toy::openJoining({lanes, 2});
    Session& session = *gpu.session;
    session.setModulation(kSteps, toy::modulation(session.shape(), kSteps));
    // The prefixes differ in length, and so do the rows' places in them.
    const std::vector<pi05::PerceiveInput> held = {frame(11, 2, 3), frame(29, 2, 7)};
    for (int slot = 0; slot < 2; ++slot) perceive(session, slot, held[static_cast<size_t>(slot)]);
    const auto input = toy::act(session.shape(), 5, 2, kSteps);
    for (const RowPlace first : {RowPlace{0, 0}, RowPlace{0, 1}, RowPlace{1, 0}, RowPlace{1, 1}})
      for (const RowPlace second : {RowPlace{0, 0}, RowPlace{0, 1}, RowPlace{1, 0}, RowPlace{1, 1}}) {
        const auto own = [&](const RowPlace& place, int at) {
          return expected(session.shape(), held[static_cast<size_t>(place.slot)], place.row, input, at);
        };
        CHECK(toy::largestDifference(act(session, {first, second}, input), both(own(first, 0), own(second, 1))) <= 1e-4f);
      }
    const auto single = toy::act(session.shape(), 6, 1, kSteps);
    CHECK(toy::largestDifference(act(session, {{1, 1}}, single), expected(session.shape(), held[1], 1, single, 0)) <= 1e-4f);
  }
}

TEST("all rows of one slot in their order are denoised where they lie, any others are copied by one launch") {
  const exec::OpenSession gpu = toy::openJoining({2, 2});
  Session& session = *gpu.session;
  session.setModulation(kSteps, toy::modulation(session.shape(), kSteps));
  perceive(session, 0, frame(1, 2, 3));
  perceive(session, 1, frame(2, 1, 3));
  const auto input = toy::act(session.shape(), 1, 2, kSteps);
  fakeCudaClearLog();
  act(session, pi05::wholeSlot(0, 2), input);
  CHECK(logged("kernel copy_rows") == 0 && logged("cuStreamBeginCapture_v2") == 1);
  fakeCudaClearLog();
  act(session, {{0, 1}, {1, 0}}, input);
  CHECK(logged("kernel copy_rows") == 1 && logged("cuStreamBeginCapture_v2") == 1);
  // Joined rows share one graph, whichever they are.
  fakeCudaClearLog();
  act(session, {{1, 0}, {0, 0}}, input);
  CHECK(logged("kernel copy_rows") == 1 && logged("cuStreamBeginCapture_v2") == 0);
}

TEST("a slot may be filled again as soon as an act of its rows has been started") {
  const exec::OpenSession gpu = toy::openJoining({2, 3});
  Session& session = *gpu.session;
  session.setModulation(kSteps, toy::modulation(session.shape(), kSteps));
  const auto input = toy::act(session.shape(), 5, 2, kSteps);
  fakeCudaSlow(200);
  for (int round = 0; round < 10; ++round) {
    const auto first = frame(round, 1, 3);
    const auto second = frame(100 + round, 2, 8);
    perceive(session, round % 3, first);
    perceive(session, (round + 1) % 3, second);
    session.startAct({{(round + 1) % 3, 1}, {round % 3, 0}}, input);
    session.startPerceive(round % 3, frame(1000 + round, 2, 8));
    session.startPerceive((round + 1) % 3, frame(2000 + round, 2, 8));
    while (!session.actDone()) std::this_thread::yield();
    const auto got = session.finishAct().actions;
    const auto want =
        both(expected(session.shape(), second, 1, input, 0), expected(session.shape(), first, 0, input, 1));
    CHECK(toy::largestDifference(got, want) <= 1e-4f);
    for (const int slot : {round % 3, (round + 1) % 3}) {
      while (!session.perceiveDone(slot)) std::this_thread::yield();
      session.finishPerceive(slot);
    }
  }
  fakeCudaSlow(0);
}

TEST("a kept row outlives its slot, and is denoised beside rows of slots") {
  pi05::SessionOptions options;
  options.kept = 3;
  const exec::OpenSession gpu = toy::openJoining(options);
  Session& session = *gpu.session;
  session.setModulation(kSteps, toy::modulation(session.shape(), kSteps));
  const auto old = frame(7, 2, 6, {-1, 2});
  perceive(session, 0, old);
  const auto other = frame(8, 1, 3, {0});
  perceive(session, 1, other);
  const auto fresh = frame(9, 2, 3);
  perceive(session, 0, fresh);
  const int store = session.options().slots;
  const auto input = toy::act(session.shape(), 3, 2, kSteps);
  CHECK(toy::largestDifference(
            act(session, {{store, 2}, {0, 1}}, input),
            both(expected(session.shape(), old, 1, input, 0), expected(session.shape(), fresh, 1, input, 1))) <= 1e-4f);
  CHECK(toy::largestDifference(
            act(session, {{0, 0}, {store, 2}}, input),
            both(expected(session.shape(), fresh, 0, input, 0), expected(session.shape(), old, 1, input, 1))) <= 1e-4f);
  CHECK(toy::largestDifference(
            act(session, {{store, 0}, {store, 2}}, input),
            both(expected(session.shape(), other, 0, input, 0), expected(session.shape(), old, 1, input, 1))) <= 1e-4f);
  // The place takes another row.
  const auto next = frame(10, 1, 4, {2});
  perceive(session, 1, next);
  const auto single = toy::act(session.shape(), 4, 1, kSteps);
  CHECK(toy::largestDifference(act(session, {{store, 2}}, single), expected(session.shape(), next, 0, single, 0)) <= 1e-4f);
}

TEST("rows that are not there are refused by name, before any work") {
  pi05::SessionOptions options;
  options.kept = 2;
  const exec::OpenSession gpu = toy::openJoining(options);
  Session& session = *gpu.session;
  session.setModulation(kSteps, toy::modulation(session.shape(), kSteps));
  perceive(session, 0, frame(1, 2, 3, {1, -1}));
  const auto input = toy::act(session.shape(), 1, 2, kSteps);
  const auto refused = [&](const std::vector<RowPlace>& rows) {
    return check::thrownBy([&] { session.startAct(rows, input); });
  };
  const auto kept = [&](std::vector<int32_t> keep) {
    return check::thrownBy([&] { session.startPerceive(1, frame(2, 2, 3, std::move(keep))); });
  };
  fakeCudaClearLog();
  CHECK_SAYS(refused({{0, 0}}), "rows has 1 elements, expected 2");
  CHECK_SAYS(refused({{0, 0}, {0, 2}}), "slot 0 holds a prefix of 2 rows, the act asks for row 2");
  CHECK_SAYS(refused({{0, 0}, {0, -1}}), "the act asks for row -1");
  CHECK_SAYS(refused({{0, 0}, {1, 0}}), "slot 1 holds a prefix of 0 rows");
  CHECK_SAYS(refused({{0, 0}, {3, 0}}), "slot 3 is not one of 2");
  CHECK_SAYS(refused({{0, 0}, {2, 0}}), "no row is kept at place 0");
  CHECK_SAYS(refused({{0, 0}, {2, 2}}), "no row is kept at place 2");
  CHECK_SAYS(kept({0}), "keep has 1 elements, expected 2");
  CHECK_SAYS(kept({0, 2}), "keep names place 2 of 2");
  CHECK_SAYS(kept({0, -2}), "keep names place -2");
  CHECK_SAYS(kept({0, 0}), "keep names place 0 twice");
  CHECK(logged("cuStream") == 0 && logged("cuMemcpy") == 0 && logged("kernel") == 0);

  fakeCudaSlow(100'000);
  session.startPerceive(1, frame(2, 2, 3, {0, -1}));
  CHECK_SAYS(refused({{0, 0}, {1, 0}}), "slot 1 is being filled: rows are joined once they are there");
  CHECK_SAYS(refused({{0, 0}, {2, 0}}), "place 0 is being filled");
  fakeCudaSlow(0);
  while (!session.perceiveDone(1)) std::this_thread::yield();
  session.finishPerceive(1);
  act(session, {{1, 0}, {2, 0}}, input);
}

TEST("stages that join no rows take one whole slot, keep nothing, and say so") {
  const exec::OpenSession gpu = toy::plans().open({});
  Session& session = *gpu.session;
  CHECK(!session.shape().joins);
  session.setModulation(kSteps, toy::modulation(session.shape(), kSteps));
  for (const int slot : {0, 1}) perceive(session, slot, frame(slot, 2, 3));
  const auto input = toy::act(session.shape(), 1, 2, kSteps);
  for (const RowPlace second : {RowPlace{1, 1}, RowPlace{0, 0}})
    CHECK_SAYS(check::thrownBy([&] { session.startAct({{0, 0}, second}, input); }),
               "these stages join no rows: an act takes all rows of one slot in their order");
  act(session, pi05::wholeSlot(1, 2), input);
  pi05::SessionOptions keeping;
  keeping.kept = 1;
  CHECK_SAYS(check::thrownBy([&] { toy::plans().open(keeping); }), "no rows can be kept here");
  CHECK_SAYS(check::thrownBy([&] { toy::plans().open({2, 9}); }), "a session has 1 to 8 slots");
}

TEST("a slot whose filling failed holds nothing, nor does a place that it was to fill") {
  pi05::SessionOptions options;
  options.kept = 1;
  const exec::OpenSession gpu = toy::openJoining(options);
  Session& session = *gpu.session;
  session.setModulation(kSteps, toy::modulation(session.shape(), kSteps));
  perceive(session, 0, frame(1, 1, 3, {0}));
  const auto input = toy::act(session.shape(), 1, 1, kSteps);
  // Its graphs are there already: what fails is the copy of the row.
  fakeCudaFail("kernel", 0, 2);
  CHECK_SAYS(check::thrownBy([&] { session.startPerceive(0, frame(2, 1, 3, {0})); }), "FAKE_ERROR (2)");
  session.settle();
  CHECK_SAYS(check::thrownBy([&] { session.startAct({{0, 0}}, input); }), "holds a prefix of 0 rows");
  CHECK_SAYS(check::thrownBy([&] { session.startAct({{2, 0}}, input); }), "no row is kept at place 0");
  perceive(session, 0, frame(3, 1, 3, {0}));
  act(session, {{2, 0}}, input);
}

TEST("many threads join rows of eight slots and of the store while these are filled again") {
  constexpr int kSlots = 8;
  std::promise<std::string> opened;
  GpuThread gpu([] { return toy::openJoining({2, kSlots, 256, kSlots}); },
                [&](const pi05::ModelShape*, const std::string& reason, const std::string&) { opened.set_value(reason); });
  CHECK(opened.get_future().get().empty());
  const auto submit = [&](exec::Work work) {
    auto promise = std::make_shared<std::promise<Outcome>>();
    std::future<Outcome> future = promise->get_future();
    gpu.submit(std::move(work), [promise](Outcome&& outcome) { promise->set_value(std::move(outcome)); });
    return future;
  };
  const pi05::ModelShape& shape = joiningShape();
  submit(exec::ModulationJob{kSteps, toy::modulation(shape, kSteps)}).get();
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  // Each thread has four slots of its own and four places; what is under way of both threads is mixed in the streams.
  for (int thread = 0; thread < 2; ++thread)
    threads.emplace_back([&, thread] {
      std::mt19937 random(static_cast<unsigned>(thread));
      const int first = thread * kSlots / 2;
      for (int round = 0; round < 40; ++round) {
        const int a = first + round % 4;
        const int b = first + (round + 1) % 4;
        const auto here = frame(static_cast<int>(random() % 1000), 2, 1 + random() % 8, {-1, a});
        const auto there = frame(static_cast<int>(random() % 1000), 2, 1 + random() % 8);
        auto filling = submit(exec::PerceiveJob{a, here});
        if (submit(exec::PerceiveJob{b, there}).get().status != Outcome::Status::kDone) return;
        if (filling.get().status != Outcome::Status::kDone) return;
        const auto input = toy::act(shape, round, 2, kSteps);
        const RowPlace own = random() % 2 == 0 ? RowPlace{a, 1} : RowPlace{kSlots, a};
        auto acted = submit(exec::ActJob{{{b, 0}, own}, input});
        auto again = submit(exec::PerceiveJob{b, frame(1, 1, 8)});
        const Outcome outcome = acted.get();
        const auto want = both(expected(shape, there, 0, input, 0), expected(shape, here, 1, input, 1));
        again.get();
        if (outcome.status != Outcome::Status::kDone || toy::largestDifference(outcome.act.actions, want) > 1e-4f) return;
        ++good;
      }
    });
  for (auto& thread : threads) thread.join();
  CHECK(good == 80);
}
