#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>

#include "check/joined.h"
#include "check/lanes.h"
#include "check/numbers.h"
#include "check/poisoned_stages.h"
#include "check/products.h"
#include "pi05/cuda_stages.h"
#include "pi05/session.h"

/// The network on this machine's GPU with random weights: tuned kernels against the reference kernels, tensor by tensor,
/// a workspace full of NaN against a clean one, bit by bit, and times of the network and of its products.
namespace turbopi::check {
namespace {

using pi05::CudaModel;
using pi05::WeightSource;

CudaModel fullModel(int horizon, bool pi05, int rows) {
  CudaModel m;
  m.pi05 = pi05;
  m.vision = {1152, 27, 4304, 16, 16, 72};
  m.prefix = {2048, 18, 16384, 8, 1, 256};
  m.expert = {1024, 18, 4096, 8, 1, 256};
  m.imageSize = 224;
  m.patch = 14;
  m.vocabulary = 257152;
  m.horizon = horizon;
  m.actionDim = 32;
  m.maxBatch = rows;
  m.maxImages = 3 * rows;
  m.maxPrefix = 968;
  m.tokenBuckets = {32, 64, 96, 128, 200};
  return m;
}

std::vector<WeightSource> randomWeights(const CudaModel& m) {
  std::vector<WeightSource> all;
  unsigned seed = 1;
  const auto matrix = [&](const std::string& name, int64_t n, int64_t k) {
    all.push_back({name, {}, static_cast<uint64_t>(n * k), seed++, std::sqrt(3.0f / static_cast<float>(k))});
  };
  const auto vector = [&](const std::string& name, int64_t n) {
    all.push_back({name, {}, static_cast<uint64_t>(n), seed++, 0.2f});
  };
  const auto dense = [&](const std::string& name, int64_t n, int64_t k) {
    matrix(name + ".weight", n, k);
    vector(name + ".bias", n);
  };
  const pi05::Transformer& v = m.vision;
  const auto layer = [](const char* t, int l) { return std::string(t) + "." + std::to_string(l) + "."; };
  dense("vision.patch", v.width, m.patchValues());
  vector("vision.positions", int64_t{m.imageTokens()} * v.width);
  for (int l = 0; l < v.depth; ++l) {
    const std::string at = layer("vision", l);
    for (const char* norm : {"norm1", "norm2"}) {
      vector(at + norm + ".weight", v.width);
      vector(at + norm + ".bias", v.width);
    }
    dense(at + "qkv", 3 * v.width, v.width);
    dense(at + "o", v.width, v.width);
    dense(at + "fc1", v.mlp, v.width);
    dense(at + "fc2", v.width, v.mlp);
  }
  vector("vision.norm.weight", v.width);
  vector("vision.norm.bias", v.width);
  dense("vision.projector", m.prefix.width, v.width);
  matrix("prefix.embedding", m.vocabulary, m.prefix.width);
  for (const auto& [name, t] : {std::pair<const char*, pi05::Transformer>{"prefix", m.prefix}, {"expert", m.expert}})
    for (int l = 0; l < t.depth; ++l) {
      const std::string at = layer(name, l);
      const bool expert = name[0] == 'e';
      const bool last = !expert && l == t.depth - 1;
      if (!expert || !m.pi05) {
        vector(at + "norm1", t.width);
        vector(at + "norm2", t.width);
      }
      matrix(at + "qkv", int64_t{(last ? 0 : t.heads) + 2 * t.kvHeads} * t.headDim, t.width);
      if (last) continue;
      matrix(at + "o", t.width, int64_t{t.heads} * t.headDim);
      matrix(at + "gate_up", int64_t{2} * t.mlp, t.width);
      matrix(at + "down", t.width, t.mlp);
    }
  const int64_t w = m.expert.width;
  dense("action_in", w, m.actionDim);
  dense("action_out", m.actionDim, w);
  if (m.pi05) {
    dense("time_in", w, w);
    dense("time_out", w, w);
    matrix("expert.modulation.weight", int64_t{3} * m.norms() * w, w);
    vector("expert.modulation.bias", int64_t{3} * m.norms() * w);
  } else {
    vector("expert.norm", w);
    dense("state", w, m.actionDim);
    dense("action_time_in", w, 2 * w);
    dense("action_time_out", w, w);
  }
  return all;
}

struct Numbers {
  unsigned state = 12345;
  float operator()() {
    state = state * 1664525u + 1013904223u;
    return static_cast<float>(state >> 8) / 16777216.0f;
  }
};

/// `batch` rows of `cameras` pictures and `tokens` tokens, the odd ones shorter by `ragged`.
pi05::PerceiveInput observation(const CudaModel& m, int batch, int cameras, int tokens, int ragged) {
  Numbers random;
  pi05::PerceiveInput in;
  in.batch = batch;
  in.images = int64_t{batch} * cameras;
  int64_t bucket = 0;
  for (const int64_t size : m.tokenBuckets)
    if (bucket == 0 && size >= tokens) bucket = size;
  in.prefixLength = cameras * m.imageTokens() + bucket;
  in.pixels.resize(static_cast<size_t>(in.images) * m.imageSize * m.imageSize * 3);
  for (uint8_t& p : in.pixels) p = static_cast<uint8_t>(random() * 255.99f);
  in.tokens.assign(static_cast<size_t>(batch * bucket), 0);
  in.source.assign(static_cast<size_t>(batch * in.prefixLength), 0);
  int64_t token = in.images * m.imageTokens();
  for (int b = 0; b < batch; ++b) {
    const int own = b % 2 == 1 ? std::max(1, tokens - ragged) : tokens;
    int64_t* source = in.source.data() + b * in.prefixLength;
    for (int i = 0; i < cameras * m.imageTokens(); ++i) *source++ = int64_t{b} * cameras * m.imageTokens() + i;
    for (int i = 0; i < own; ++i) {
      in.tokens[static_cast<size_t>(token - in.images * m.imageTokens())] =
          static_cast<int64_t>(random() * static_cast<float>(m.vocabulary - 1));
      *source++ = token++;
    }
    in.lengths.push_back(cameras * m.imageTokens() + own);
  }
  return in;
}

pi05::ActInput noise(const CudaModel& m, int batch, int steps) {
  Numbers random;
  pi05::ActInput in;
  in.batch = batch;
  in.steps = steps;
  for (int i = 0; i < batch * m.horizon * m.actionDim; ++i) {
    float sum = -6;
    for (int j = 0; j < 12; ++j) sum += random();
    in.noise.push_back(sum);
  }
  for (int i = 0; i < steps * batch * m.horizon; ++i)
    in.updates.insert(in.updates.end(), {1.0f, -1.0f / static_cast<float>(steps), 0.0f});
  in.targets.assign(in.noise.size(), 0.0f);
  if (!m.pi05)
    for (int i = 0; i < batch * m.actionDim; ++i) in.state.push_back(2 * random() - 1);
  return in;
}

/// Sine and cosine embeddings of the times 1, 1 − 1/N … (network §3.6).
std::vector<float> timeEmbeddings(const CudaModel& m, int steps) {
  const int width = m.expert.width;
  std::vector<float> all(static_cast<size_t>(steps * width));
  for (int k = 0; k < steps; ++k)
    for (int i = 0; i < width / 2; ++i) {
      const double period = 0.004 * std::pow(1000.0, static_cast<double>(i) / (width / 2 - 1));
      const double angle = 2 * M_PI * (1.0 - static_cast<double>(k) / steps) / period;
      all[static_cast<size_t>(k * width + i)] = static_cast<float>(std::sin(angle));
      all[static_cast<size_t>(k * width + width / 2 + i)] = static_cast<float>(std::cos(angle));
    }
  return all;
}

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

/// Keys or values without what lies past a row's length.
std::vector<float> valid(const std::vector<float>& cache, const pi05::PerceiveInput& in, int64_t headDim) {
  std::vector<float> out;
  for (int64_t b = 0; b < in.batch; ++b) {
    const float* from = cache.data() + b * in.prefixLength * headDim;
    out.insert(out.end(), from, from + in.lengths[static_cast<size_t>(b)] * headDim);
  }
  return out;
}

int compare(const pi05::Trace& tuned, const pi05::Trace& reference, const pi05::PerceiveInput& in, const char* name) {
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
  // Twice what bf16 sums in other orders differ by; planted mistakes are above it (test/mutations/gpu.ts).
  const bool ok = worst < 0.012;
  std::printf("%s %s: worst relative error %.2e\n", ok ? "ok  " : "FAIL", name, worst);
  std::fflush(stdout);
  return ok ? 0 : 1;
}

struct Times {
  std::vector<double> vision, prefix, denoise, all;
};

double at(std::vector<double> v, double q) {
  std::sort(v.begin(), v.end());
  return v[std::min(v.size() - 1, static_cast<size_t>(q * static_cast<double>(v.size())))];
}

void time(pi05::Session& session, const CudaModel& m, const char* name, int batch, int cameras, int tokens, int steps,
          int rounds) {
  const pi05::PerceiveInput in = observation(m, batch, cameras, tokens, 0);
  const pi05::ActInput act = noise(m, batch, steps);
  Times t;
  std::vector<float> first;
  int unlike = 0;
  for (int round = -10; round < rounds; ++round) {
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
    if (std::memcmp(first.data(), a.actions.data(), first.size() * sizeof(float)) != 0) ++unlike;
    if (round < 0) continue;
    t.vision.push_back(static_cast<double>(p.visionMs));
    t.prefix.push_back(static_cast<double>(p.prefixMs));
    t.denoise.push_back(static_cast<double>(a.denoiseMs));
    t.all.push_back(ms);
  }
  std::printf("time %-34s vision %6.3f prefix %6.3f denoise %6.3f | host wall median %6.3f p99 %6.3f max %6.3f | unlike %d"
              " | rows/s %.1f\n",
              name, at(t.vision, 0.5), at(t.prefix, 0.5), at(t.denoise, 0.5), at(t.all, 0.5), at(t.all, 0.99),
              at(t.all, 1), unlike, 1000 * batch / at(t.all, 0.5));
  std::fflush(stdout);
}

int run(int argc, char** argv) {
  const auto has = [&](const char* flag) {
    return std::any_of(argv + 2, argv + argc, [&](const char* a) { return std::strcmp(a, flag) == 0; });
  };
  const auto number = [&](const char* flag, int otherwise) {
    for (int i = 2; i + 1 < argc; ++i)
      if (std::strcmp(argv[i], flag) == 0) return std::atoi(argv[i + 1]);
    return otherwise;
  };
  std::vector<int> rows;
  for (int i = 2; i + 1 < argc; ++i)
    if (std::strcmp(argv[i], "--rows") == 0) rows = numbers(argv[i + 1]);
  const cuda::DriverPtr driver = cuda::Driver::load();
  const JoinedInputs inputs = {randomWeights, observation, noise, timeEmbeddings};
  if (has("--break")) return checkBroken(driver, argv[1], fullModel(10, true, 1), inputs);
  const cuda::Context context(driver, 0);
  context.makeCurrent();
  const int horizon = number("--horizon", 10);
  const bool pi0 = has("--pi0");
  const int most = rows.empty() ? 8 : *std::max_element(rows.begin(), rows.end());
  CudaModel model = fullModel(horizon, !pi0, std::max(8, most));
  if (has("--small")) model.vision.depth = 2, model.prefix.depth = model.expert.depth = 2, model.vocabulary = 4096;
  if (has("--products")) {
    timeProducts(driver, argv[1]);
    return 0;
  }
  const auto open = [&](bool tuned, bool poisoned, int lanes = 1) {
    pi05::CudaRequest request;
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
  int failed = 0;
  if (has("--lanes")) {
    std::vector<pi05::PerceiveInput> frames;
    for (const int tokens : {64, 50, 60}) frames.push_back(observation(model, 1, 2, tokens, 0));
    failed += checkLanes([&](int lanes) { return open(true, false, lanes); }, frames, noise(model, 1, 10));
  }
  if (has("--joined")) return failed + checkJoined(driver, argv[1], model, inputs);
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
      const bool same = poisoned.imageEmbeddings == clean.imageEmbeddings && poisoned.keys == clean.keys &&
                        poisoned.values == clean.values && poisoned.act.actions == clean.act.actions;
      std::printf("%s %s: %s kernels in a poisoned workspace\n", same ? "same bits" : "FAIL", c.name,
                  kind ? "tuned" : "reference");
      if (!same) ++failed;
    };
    for (const size_t i : {size_t{0}, size_t{3}}) samePoisoned(true, i, traces[i]);
    const auto reference = open(false, false);
    for (size_t i = 0; i < traces.size(); ++i) {
      const Case& c = cases[i];
      const auto in = observation(model, c.batch, c.cameras, c.tokens, c.ragged);
      const auto start = std::chrono::steady_clock::now();
      const pi05::Trace expected = reference->trace(0, in, noise(model, c.batch, c.steps));
      const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
      failed += compare(traces[i], expected, in, c.name);
      if (i == 2) samePoisoned(false, i, expected);
      std::printf("  the reference took %.0f ms\n", ms);
    }
  }
  const int rounds = number("--rounds", 200);
  if (!tuned && (has("--time") || has("--batch"))) tuned = open(true, false);
  if (has("--time")) {
    time(*tuned, model, "1 row, 2 cameras, 64 tokens, 10 steps", 1, 2, 64, 10, rounds);
    time(*tuned, model, "1 row, 3 cameras, 200 tokens, 10 steps", 1, 3, 200, 10, rounds);
    time(*tuned, model, "1 row, 1 camera, 32 tokens, 3 steps", 1, 1, 32, 3, rounds);
  }
  if (has("--batch") && rows.empty()) rows = {2, 4, 8};
  if (has("--batch"))
    for (const int batch : rows) {
      const std::string name = std::to_string(batch) + (batch == 1 ? " row" : " rows") + ", 2 cameras, 64 tokens, 10 steps";
      time(*tuned, model, name.c_str(), batch, 2, 64, 10, batch == 1 ? rounds : std::max(1, rounds / 4));
    }
  return failed;
}

}  // namespace
}  // namespace turbopi::check

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: network_check KERNELS [--horizon N] [--compare] [--time] [--batch] [--lanes] [--products] "
                 "[--joined] [--break] [--small] [--pi0] [--rounds N] [--rows N,N…]\n");
    return 2;
  }
  try {
    return turbopi::check::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
