#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <utility>

#include "check/again.h"
#include "check/cards.h"
#include "check/float8.h"
#include "check/joined.h"
#include "check/lanes.h"
#include "check/numbers.h"
#include "check/poisoned_stages.h"
#include "check/products.h"
#include "check/random_network.h"
#include "check/unlike.h"
#include "pi05/cuda_stages.h"
#include "pi05/session.h"

/// The network on this machine's GPU with random weights: tuned kernels against the reference kernels, tensor by tensor,
/// a workspace full of NaN against a clean one, bit by bit, and times of the network and of its products.
namespace turbopi::check {
namespace {

using pi05::CudaModel;

struct Difference {
  double relative = 0, largest = 0;
};

Difference difference(const std::vector<float>& a, const std::vector<float>& b) {
  Difference d;
  double errors = 0, squares = 0;
  bool sane = a.size() == b.size();
  for (size_t i = 0; sane && i < a.size(); ++i) {
    const double e = static_cast<double>(a[i]) - b[i];
    if (!std::isfinite(e)) sane = false;
    errors += e * e;
    squares += static_cast<double>(b[i]) * b[i];
    d.largest = std::max(d.largest, std::fabs(e));
  }
  d.relative = sane ? std::sqrt(errors / std::max(squares, 1e-30)) : NAN;
  if (!sane) d.largest = NAN;
  return d;
}

CudaModel inBFloat16(CudaModel model) {
  model.vision.float8 = model.prefix.float8 = model.expert.float8 = false;
  return model;
}

/// Keys or values without what lies past a row's length.
std::vector<float> valid(const std::vector<float>& cache, const pi05::PerceiveInput& in, int64_t headDim) {
  std::vector<float> out;
  for (int64_t b = 0; b < in.batch; ++b) {
    const float* from = cache.data() + b * in.prefixLength * headDim;
    out.insert(out.end(), from, from + in.lengths[static_cast<size_t>(b)] * headDim);
  }
  return out;
}

/// Twice what bf16 sums in other orders differ by; planted mistakes are above it (test/mutations/gpu.ts).
constexpr double kLimit = 0.012;
/// Where such a sum lies between two 8-bit floats it is rounded to one or the other, a sixteenth apart: 0.02 after a layer, 0.05
/// after eighteen.
constexpr double kFloat8Limit = 0.08;

int compare(const pi05::Trace& tuned, const pi05::Trace& reference, const pi05::PerceiveInput& in, const char* name,
            double limit) {
  double worst = 0;
  const auto note = [&](const char* what, size_t i, const Difference& d, bool print) {
    if (!(d.relative <= worst)) worst = d.relative;
    if (print) std::printf("  %-22s %2zu relative %.2e largest %.2e\n", what, i, d.relative, d.largest);
  };
  std::printf("%s\n", name);
  note("image embeddings", 0, difference(tuned.imageEmbeddings, reference.imageEmbeddings), true);
  const size_t last = tuned.keys.size() - 1;
  for (size_t l = 0; l <= last; ++l) {
    const bool print = l == 0 || l == 1 || l == last;
    note("keys", l, difference(valid(tuned.keys[l], in, 256), valid(reference.keys[l], in, 256)), print);
    note("values", l, difference(valid(tuned.values[l], in, 256), valid(reference.values[l], in, 256)), print);
  }
  for (size_t k = 0; k < tuned.velocity.size(); ++k)
    note("velocity", k, difference(tuned.velocity[k], reference.velocity[k]), k == 0 || k + 1 == tuned.velocity.size());
  note("actions", 0, difference(tuned.act.actions, reference.act.actions), true);
  const bool ok = worst < limit;
  std::printf("%s %s: worst relative error %.2e\n", ok ? "ok  " : "FAIL", name, worst);
  std::fflush(stdout);
  return ok ? 0 : 1;
}

Times measure(pi05::Session& session, const CudaModel& m, int batch, int cameras, int tokens, int steps, int rounds,
              const std::function<void()>& ready = [] {}) {
  const pi05::PerceiveInput in = observation(m, batch, cameras, tokens, 0);
  const pi05::ActInput act = noise(m, batch, steps);
  Times t;
  std::vector<float> first;
  for (int round = -10; round < rounds; ++round) {
    if (round == 0) ready();
    const auto start = std::chrono::steady_clock::now();
    session.startPerceive(0, in);
    session.startAct(pi05::wholeSlot(0, batch), act);
    while (!session.perceiveDone(0)) {
    }
    const pi05::PerceiveResult p = session.finishPerceive(0);
    while (!session.actDone()) {
    }
    const pi05::ActResult a = session.finishAct();
    const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    if (round == -10) first = a.actions;
    if (std::memcmp(first.data(), a.actions.data(), first.size() * sizeof(float)) != 0) ++t.unlike;
    if (round < 0) continue;
    t.vision.push_back(static_cast<double>(p.visionMs));
    t.prefix.push_back(static_cast<double>(p.prefixMs));
    t.denoise.push_back(static_cast<double>(a.denoiseMs));
    t.all.push_back(ms);
  }
  return t;
}

void time(pi05::Session& session, const CudaModel& m, const char* name, int batch, int cameras, int tokens, int steps,
          int rounds) {
  print(name, measure(session, m, batch, cameras, tokens, steps, rounds), batch);
}

int numberOf(int argc, char** argv, const char* flag, int otherwise) {
  for (int i = 2; i + 1 < argc; ++i)
    if (std::strcmp(argv[i], flag) == 0) return std::atoi(argv[i + 1]);
  return otherwise;
}

int runAlone(int argc, char** argv) {
  const auto has = [&](const char* flag) {
    return std::any_of(argv + 2, argv + argc, [&](const char* a) { return std::strcmp(a, flag) == 0; });
  };
  const auto number = [&](const char* flag, int otherwise) { return numberOf(argc, argv, flag, otherwise); };
  std::vector<int> rows;
  for (int i = 2; i + 1 < argc; ++i)
    if (std::strcmp(argv[i], "--rows") == 0) rows = numbers(argv[i + 1]);
  const cuda::DriverPtr driver = cuda::Driver::load();
  if (has("--break")) return checkBroken(driver, argv[1], fullModel(10, true, 1));
  const cuda::Context context(driver, 0);
  context.makeCurrent();
  std::printf("%s\n", driver->device(0).name.c_str());
  const int horizon = number("--horizon", 10);
  const bool pi0 = has("--pi0");
  const int most = rows.empty() ? 8 : *std::max_element(rows.begin(), rows.end());
  CudaModel model = fullModel(horizon, !pi0, std::max(8, most));
  if (has("--small")) model.vision.depth = 2, model.prefix.depth = model.expert.depth = 2, model.vocabulary = 4096;
  const bool float8 = has("--float8");
  model.prefix.float8 = model.expert.float8 = float8;
  model.vision.float8 = float8 && has("--vision");
  if (has("--rounding")) return checkFloat8(driver, argv[1]);
  if (has("--products")) {
    timeProducts(driver, argv[1], float8, rows);
    return 0;
  }
  const auto open = [&](bool tuned, bool poisoned, int lanes = 1, int card = 0) {
    pi05::CudaRequest request;
    request.device = card;
    request.model = model;
    request.kernels = argv[1];
    request.weights = randomWeights(model);
    request.tuned = tuned;
    std::unique_ptr<pi05::StageMaker> stages = pi05::openCudaStages(driver, request);
    if (poisoned) stages = std::make_unique<PoisonedStages>(std::move(stages));
    auto session = std::make_unique<pi05::Session>(driver, std::move(stages), pi05::SessionOptions{lanes, lanes});
    for (const int steps : {1, 3, 10}) session->setModulation(steps, timeEmbeddings(model, steps));
    return session;
  };
  const int rounds = number("--rounds", 200);
  const auto roundsOf = [&](int batch) { return batch == 1 ? rounds : std::max(1, rounds / 4); };
  const auto named = [](int batch) {
    return std::to_string(batch) + (batch == 1 ? " row" : " rows") + ", 2 cameras, 64 tokens, 10 steps";
  };
  if (const int cards = number("--cards", 0); cards > 0) {
    require(cards <= driver->deviceCount(), "--cards " + std::to_string(cards) + ": this process sees " +
                                                std::to_string(driver->deviceCount()) + " GPUs", "ask for fewer");
    for (const int batch : rows.empty() ? std::vector<int>{1, 2, 4, 8} : rows) {
      const Times times = timeCards(cards, [&](int card, const std::function<void()>& ready) {
        const cuda::Context own(driver, card);
        own.makeCurrent();
        return measure(*open(true, false, 1, card), model, batch, 2, 64, 10, roundsOf(batch), ready);
      });
      print((std::to_string(cards) + (cards == 1 ? " card, " : " cards, ") + named(batch)).c_str(), times, batch, cards);
    }
    return 0;
  }
  int failed = 0;
  if (has("--lanes")) {
    for (const int batch : rows.empty() ? std::vector<int>{1} : rows) {
      std::vector<pi05::PerceiveInput> frames;
      for (const int tokens : {64, 50, 60}) frames.push_back(observation(model, batch, 2, tokens, 0));
      failed += checkLanes([&](int lanes) { return open(true, false, lanes); }, frames, noise(model, batch, 10),
                           std::min(100, roundsOf(batch)));
    }
  }
  if (has("--joined")) return failed + checkJoined(driver, argv[1], model);
  auto tuned = open(true, false);
  if (has("--profile")) {
    const int cameras = number("--cameras", 2);
    const int batch = rows.empty() ? 1 : rows.front();
    tuned->trace(0, observation(model, batch, cameras, number("--tokens", 64), 0), noise(model, batch, 1));
    return 0;
  }
  if (has("--compare")) {
    struct Case {
      const char* name;
      int batch, cameras, tokens, ragged, steps;
    };
    std::vector<Case> cases = {{"1 row, 2 cameras, 64 tokens", 1, 2, 64, 0, 3},
                               {"1 row, 3 cameras, 200 tokens", 1, 3, 200, 0, 1},
                               {"1 row, 1 camera, 17 tokens", 1, 1, 17, 0, 1},
                               {"3 rows, 2 cameras, 64/50 tokens", 3, 2, 64, 14, 1}};
    if (most >= 16) cases.push_back({"16 rows, 2 cameras, 64/50 tokens", 16, 2, 64, 14, 1});
    if (most >= 32) cases.push_back({"32 rows, 3 cameras, 200/150 tokens", 32, 3, 200, 50, 1});
    std::vector<pi05::Trace> traces;
    for (const Case& c : cases) {
      const auto act = noise(model, c.batch, c.steps);
      traces.push_back(tuned->trace(0, observation(model, c.batch, c.cameras, c.tokens, c.ragged), act));
    }
    tuned.reset();
    const auto samePoisoned = [&](bool kind, size_t i, const pi05::Trace& clean) {
      const Case& c = cases[i];
      const auto poisoned = open(kind, true)->trace(0, observation(model, c.batch, c.cameras, c.tokens, c.ragged),
                                                    noise(model, c.batch, c.steps));
      const std::string other = unlike(clean, poisoned);
      std::printf("%s %s: %s kernels in a poisoned workspace%s%s\n", other.empty() ? "same bits" : "FAIL", c.name,
                  kind ? "tuned" : "reference", other.empty() ? "" : "; ", other.c_str());
      if (!other.empty()) ++failed;
    };
    for (const size_t i : {size_t{0}, size_t{3}}) samePoisoned(true, i, traces[i]);
    const auto reference = open(false, false);
    for (size_t i = 0; i < traces.size(); ++i) {
      const Case& c = cases[i];
      const auto in = observation(model, c.batch, c.cameras, c.tokens, c.ragged);
      const auto start = std::chrono::steady_clock::now();
      const pi05::Trace expected = reference->trace(0, in, noise(model, c.batch, c.steps));
      const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
      failed += compare(traces[i], expected, in, c.name, float8 ? kFloat8Limit : kLimit);
      if (i == 2) samePoisoned(false, i, expected);
      std::printf("  the reference took %.0f ms\n", ms);
    }
    if (float8) {
      // No limit: that is docs/reference/fp8.md's, on networks that are not random.
      const CudaModel rounded = std::exchange(model, inBFloat16(model));
      const auto plain = open(false, false);
      model = rounded;
      for (size_t i = 0; i < traces.size(); ++i) {
        const Case& c = cases[i];
        const auto in = observation(model, c.batch, c.cameras, c.tokens, c.ragged);
        const Difference d = difference(traces[i].act.actions,
                                        plain->trace(0, in, noise(model, c.batch, c.steps)).act.actions);
        std::printf("fp8 against bf16, %s: actions relative %.2e largest %.2e\n", c.name, d.relative, d.largest);
      }
    }
  }
  if (const int seconds = number("--again", 0); seconds > 0) {
    if (!tuned) tuned = open(true, false);
    const std::vector<Frame> frames = {{observation(model, 1, 2, 64, 0), noise(model, 1, 3)},
                                       {observation(model, 3, 2, 64, 14), noise(model, 3, 3)}};
    failed += checkAgain(*tuned, *open(true, true), frames, seconds);
  }
  if (!tuned && (has("--time") || has("--batch"))) tuned = open(true, false);
  if (has("--time")) {
    time(*tuned, model, "1 row, 2 cameras, 64 tokens, 10 steps", 1, 2, 64, 10, rounds);
    time(*tuned, model, "1 row, 3 cameras, 200 tokens, 10 steps", 1, 3, 200, 10, rounds);
    time(*tuned, model, "1 row, 1 camera, 32 tokens, 3 steps", 1, 1, 32, 3, rounds);
  }
  if (has("--batch") && rows.empty()) rows = {2, 4, 8};
  if (has("--batch"))
    for (const int batch : rows) time(*tuned, model, named(batch).c_str(), batch, 2, 64, 10, roundsOf(batch));
  return failed;
}

int run(int argc, char** argv) {
  const int processes = numberOf(argc, argv, "--processes", 1);
  return processes == 1 ? runAlone(argc, argv) : inProcesses(processes, [&] { return runAlone(argc, argv); });
}

}  // namespace
}  // namespace turbopi::check

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: network_check KERNELS [--horizon N] [--compare] [--time] [--batch] [--lanes] [--products] "
                 "[--joined] [--break] [--again SECONDS] [--processes N] [--small] [--pi0] [--float8 [--vision]] [--rounding] "
                 "[--rounds N] [--rows N,N…] [--cards N]\n");
    return 2;
  }
  try {
    return turbopi::check::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
