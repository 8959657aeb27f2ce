#include <cstdlib>
#include <future>

#include "check.h"
#include "joining_stages.h"

/// What a session says, and does not touch, once the context of its card has been destroyed (cuda/break_context.h).

using namespace turbopi;
using exec::GpuThread;
using exec::Outcome;

static constexpr int kSteps = 3;

static const pi05::ModelShape& joiningShape() {
  static const pi05::ModelShape made = toy::JoiningStages(toy::plans().engines()).shape();
  return made;
}

/// A frame of one row, with a prompt of three tokens.
static pi05::PerceiveInput frame(int number) { return toy::frame(joiningShape(), number, 1, 2, 3, 4); }

/// A GPU thread with joining stages on one card, and what is submitted to it.
struct Card {
  explicit Card(int card) {
    std::promise<std::string> opened;
    gpu = std::make_unique<GpuThread>(
        [card] { return toy::openJoining({}, card); },
        [&](const pi05::ModelShape*, const std::string& reason, const std::string&) { opened.set_value(reason); });
    CHECK(opened.get_future().get().empty());
    submit(exec::ModulationJob{kSteps, toy::modulation(joiningShape(), kSteps)}).get();
  }
  std::future<Outcome> submit(exec::Work work) const {
    auto promise = std::make_shared<std::promise<Outcome>>();
    std::future<Outcome> future = promise->get_future();
    gpu->submit(std::move(work), [promise](Outcome&& outcome) { promise->set_value(std::move(outcome)); });
    return future;
  }
  /// Whether frame `number` comes back as itself.
  bool answers(int number) const {
    const pi05::PerceiveInput input = frame(number);
    const pi05::ActInput start = toy::act(joiningShape(), number, 1, kSteps);
    if (submit(exec::PerceiveJob{0, input}).get().status != Outcome::Status::kDone) return false;
    const Outcome acted = submit(exec::ActJob{{{0, 0}}, start}).get();
    return acted.status == Outcome::Status::kDone &&
           toy::largestDifference(acted.act.actions, toy::reference(joiningShape(), input, start).act.actions) <= 1e-4f;
  }
  std::unique_ptr<GpuThread> gpu;
};

TEST("a card whose context is destroyed under load fails what it has and whatever comes; the other card goes on") {
  setenv("FAKE_CUDA_DEVICES", "2", 1);
  const int before = fakeCudaLive();
  fakeCudaSlow(200);
  {
    Card doomed(0);
    const Card other(1);
    const auto input = toy::act(joiningShape(), 1, 1, kSteps);
    CHECK(doomed.answers(1));
    std::vector<std::future<Outcome>> accepted;
    for (int round = 0; round < 8; ++round) {
      accepted.push_back(doomed.submit(exec::PerceiveJob{round % 2, frame(round)}));
      accepted.push_back(doomed.submit(exec::ActJob{{{round % 2, 0}}, input}));
    }
    CHECK(doomed.submit(exec::BreakJob{}).get().status == Outcome::Status::kDone);
    int failed = 0;
    for (auto& one : accepted) {
      const Outcome outcome = one.get();
      if (outcome.status == Outcome::Status::kDone) continue;
      CHECK(outcome.status == Outcome::Status::kFailed);
      CHECK_SAYS(outcome.reason, "(709)");
      ++failed;
    }
    CHECK(failed >= 12);
    const std::vector<exec::Work> more = {exec::PerceiveJob{0, frame(3)}, exec::ActJob{{{1, 0}}, input}};
    for (const exec::Work& work : more) {
      const Outcome refused = doomed.submit(work).get();
      CHECK(refused.status == Outcome::Status::kFailed);
      CHECK_SAYS(refused.reason, "the GPU session has failed");
    }
    for (int number = 0; number < 5; ++number) CHECK(other.answers(number));
  }
  fakeCudaSlow(0);
  CHECK(fakeCudaLive() == before);
  CHECK(Card(0).answers(7));
  unsetenv("FAKE_CUDA_DEVICES");
}

TEST("whatever a session is asked for first in a context that is destroyed, it says so and touches none of its memory") {
  const auto input = toy::act(joiningShape(), 1, 1, kSteps);
  const std::vector<exec::Work> first = {exec::PerceiveJob{0, frame(1)}, exec::ActJob{{{0, 0}}, input},
                                         exec::ActJob{{{1, 0}, {0, 0}}, toy::act(joiningShape(), 1, 2, kSteps)},
                                         exec::ModulationJob{kSteps + 1, toy::modulation(joiningShape(), kSteps + 1)},
                                         exec::TraceJob{0, frame(1), input}};
  for (const exec::Work& work : first) {
    const Card card(0);
    for (const int slot : {0, 1}) card.submit(exec::PerceiveJob{slot, frame(2)}).get();
    CHECK(card.submit(exec::BreakJob{}).get().status == Outcome::Status::kDone);
    const Outcome failed = card.submit(work).get();
    CHECK(failed.status == Outcome::Status::kFailed);
    CHECK_SAYS(failed.reason, "FAKE_ERROR (709)");
  }
}
