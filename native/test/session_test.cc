#include <sstream>
#include <thread>

#include "check.h"
#include "forwarding_stages.h"
#include "toy_gpu.h"

using namespace turbopi;
using pi05::Session;

static void wait(const std::function<bool()>& done) {
  while (!done()) std::this_thread::sleep_for(std::chrono::microseconds(50));
}

static pi05::ActResult run(Session& session, int slot, const pi05::PerceiveInput& input, const pi05::ActInput& act) {
  session.setModulation(act.steps, toy::modulation(session.shape(), act.steps));
  session.startPerceive(slot, input);
  session.startAct(pi05::wholeSlot(slot, input.batch), act);
  wait([&] { return session.perceiveDone(slot) && session.actDone(); });
  session.finishPerceive(slot);
  return session.finishAct();
}

static std::vector<std::string> linesOf(const std::string& log, const std::vector<std::string>& kinds) {
  std::vector<std::string> out;
  std::istringstream lines(log);
  for (std::string line; std::getline(lines, line);)
    for (const std::string& kind : kinds)
      if (line.rfind(kind, 0) == 0) out.push_back(line);
  return out;
}

static size_t countOf(const std::vector<std::string>& lines, const std::string& part) {
  size_t count = 0;
  for (const std::string& line : lines) count += line.find(part) != std::string::npos;
  return count;
}

TEST("the shape of the model is read from its plans") {
  const exec::OpenSession gpu = toy::plans().open({});
  const pi05::ModelShape& shape = gpu.session->shape();
  CHECK(shape.imageSize == 4 && shape.imageTokens == 4 && shape.width == 3 && shape.layers == 2 && shape.headDim == 2);
  CHECK(shape.horizon == 3 && shape.actionDim == 2 && shape.modulation == 5 && !shape.state);
  CHECK(shape.maxBatch == 2 && shape.maxImages == 4 && shape.maxPrefix == 16 && shape.tokenBuckets == toy::buckets());
}

TEST("actions are the model's, for every batch, bucket, camera count and step count, in 1 and 2 lanes") {
  for (const bool state : {false, true})
    for (const int lanes : {1, 2}) {
      const exec::OpenSession gpu = toy::plans(state).open({lanes, 2});
      Session& session = *gpu.session;
      int number = 1;
      for (const int64_t batch : {1, 2})
        for (const int64_t cameras : {1, 2})
          for (const int64_t bucket : toy::buckets())
            for (const int steps : {1, 2, 3, 10}) {
              number += 37;
              const auto input = toy::frame(session.shape(), number, batch, cameras, bucket - 1, bucket);
              const auto act = toy::act(session.shape(), number, batch, steps);
              const auto expected = toy::reference(session.shape(), input, act);
              const auto got = run(session, number % 2, input, act);
              CHECK(toy::largestDifference(got.actions, expected.act.actions) <= 1e-4f);
            }
    }
}

TEST("a trace has every intermediate tensor and the same actions as the captured graphs") {
  const exec::OpenSession gpu = toy::plans(true).open({});
  Session& session = *gpu.session;
  const auto input = toy::frame(session.shape(), 9, 2, 2, 5, 8);
  const auto act = toy::act(session.shape(), 9, 2, 4);
  const auto expected = toy::reference(session.shape(), input, act);
  const auto replayed = run(session, 0, input, act);
  const auto trace = session.trace(1, input, act);
  CHECK(trace.imageEmbeddings == expected.imageEmbeddings && trace.keys == expected.keys &&
        trace.values == expected.values);
  CHECK(trace.x.size() == 4 && trace.velocity.size() == 4);
  for (size_t step = 0; step < 4; ++step) {
    CHECK(toy::largestDifference(trace.x[step], expected.x[step]) <= 1e-4f);
    CHECK(toy::largestDifference(trace.velocity[step], expected.velocity[step]) <= 1e-4f);
  }
  CHECK(trace.act.actions == replayed.actions);
}

TEST("a trace that does not fit is refused before any work") {
  const exec::OpenSession gpu = toy::plans().open({});
  Session& session = *gpu.session;
  session.setModulation(2, toy::modulation(session.shape(), 2));
  const auto input = toy::frame(session.shape(), 1, 1, 2, 3, 4);
  fakeCudaClearLog();
  CHECK_SAYS(check::thrownBy([&] { session.trace(0, input, toy::act(session.shape(), 1, 2, 2)); }),
             "the perceive has 1 rows, the act 2");
  CHECK_SAYS(check::thrownBy([&] { session.trace(0, input, toy::act(session.shape(), 1, 1, 7)); }),
             "no modulation was set for 7 steps");
  CHECK(linesOf(fakeCudaLog(), {"cuStream", "cuMemcpy", "cuGraph", "kernel"}).empty());
}

/// Stages that count how many of them went while their work could still be in the stream.
class WatchedStages final : public pi05::ForwardingStages {
 public:
  WatchedStages(std::unique_ptr<pi05::StageMaker> stages, int& early)
      : ForwardingStages(std::move(stages)), early_(early) {}
  std::unique_ptr<pi05::Stage> vision(const pi05::VisionCall& call, const cuda::Stream& stream,
                                      pi05::Scratch scratch) override {
    return watched(ForwardingStages::vision(call, stream, scratch));
  }
  std::unique_ptr<pi05::Stage> prefix(const pi05::PrefixCall& call, const cuda::Stream& stream,
                                      pi05::Scratch scratch) override {
    return watched(ForwardingStages::prefix(call, stream, scratch));
  }
  std::unique_ptr<pi05::Stage> denoise(const pi05::DenoiseCall& call, const cuda::Stream& stream,
                                       pi05::Scratch scratch) override {
    return watched(ForwardingStages::denoise(call, stream, scratch));
  }

 private:
  class Watched final : public pi05::Stage {
   public:
    Watched(std::unique_ptr<pi05::Stage> stage, int& early) : stage_(std::move(stage)), early_(early) {}
    ~Watched() override { early_ += enqueued_ && synchronised() == before_; }
    void enqueue(const cuda::Stream& stream, int step) override {
      stage_->enqueue(stream, step);
      enqueued_ = true;
      before_ = synchronised();
    }

   private:
    static size_t synchronised() { return linesOf(fakeCudaLog(), {"cuStreamSynchronize"}).size(); }
    std::unique_ptr<pi05::Stage> stage_;
    int& early_;
    bool enqueued_ = false;
    size_t before_ = 0;
  };

  std::unique_ptr<pi05::Stage> watched(std::unique_ptr<pi05::Stage> stage) {
    return std::make_unique<Watched>(std::move(stage), early_);
  }

  int& early_;
};

TEST("a trace keeps each stage until its work in the stream has ended, also when it fails") {
  const toy::Plans& plans = toy::plans();
  for (const bool fails : {false, true}) {
    int early = 0;
    const cuda::Context context(plans.driver, 0);
    context.makeCurrent();
    Session session(plans.driver, std::make_unique<WatchedStages>(plans.engines(), early), {});
    session.setModulation(2, toy::modulation(session.shape(), 2));
    const auto input = toy::frame(session.shape(), 1, 1, 2, 3, 4);
    if (fails) fakeCudaFail("cuMemcpyDtoHAsync_v2", 0, 700);
    const auto trace = [&] { session.trace(0, input, toy::act(session.shape(), 1, 1, 2)); };
    if (fails)
      CHECK_SAYS(check::thrownBy(trace), "FAKE_ERROR (700)");
    else
      trace();
    fakeCudaFail("cuMemcpyDtoHAsync_v2", -1, 0);
    CHECK(early == 0);
  }
}

TEST("each stage runs once before it is captured, and a second frame replays without a new capture") {
  const exec::OpenSession gpu = toy::plans().open({});
  Session& session = *gpu.session;
  const auto act = toy::act(session.shape(), 1, 1, 3);
  session.setModulation(3, toy::modulation(session.shape(), 3));
  fakeCudaClearLog();
  run(session, 0, toy::frame(session.shape(), 1, 1, 2, 3, 4), act);
  const auto first =
      linesOf(fakeCudaLog(), {"kernel", "cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphLaunch"});
  CHECK(countOf(first, "BeginCapture") == 3 && countOf(first, "cuGraphLaunch") == 3);
  CHECK(countOf(first, "kernel vision") == 2 && countOf(first, "kernel prefix") == 2 &&
        countOf(first, "kernel denoise") == 4);
  CHECK(first[0].rfind("kernel vision", 0) == 0 && first[1].rfind("cuStreamBeginCapture", 0) == 0 &&
        first[2].rfind("kernel vision", 0) == 0 && first[3].rfind("cuStreamEndCapture", 0) == 0 &&
        first[4].rfind("cuGraphLaunch", 0) == 0);
  fakeCudaClearLog();
  run(session, 0, toy::frame(session.shape(), 2, 1, 2, 3, 4), act);
  const auto second =
      linesOf(fakeCudaLog(), {"kernel", "cuStreamBeginCapture_v2", "cuGraphLaunch", "cuMemAlloc", "cuMemHostAlloc"});
  CHECK(second.size() == 3 && countOf(second, "cuGraphLaunch") == 3);
}

TEST("an act waits for its slot's prefix, and a perceive for the act that reads what it overwrites") {
  const exec::OpenSession gpu = toy::plans().open({});
  Session& session = *gpu.session;
  session.setModulation(1, toy::modulation(session.shape(), 1));
  run(session, 0, toy::frame(session.shape(), 1, 1, 2, 3, 4), toy::act(session.shape(), 1, 1, 1));
  fakeCudaClearLog();
  run(session, 0, toy::frame(session.shape(), 2, 1, 2, 3, 4), toy::act(session.shape(), 2, 1, 1));
  const auto lines = linesOf(fakeCudaLog(), {"cuStreamWaitEvent", "cuEventRecord", "cuGraphLaunch"});
  // perceive: wait read, record start, vision, record, prefix, record ready. act: wait ready, start, graph, read, denoise's
  // end, end.
  CHECK(lines.size() == 12);
  const auto word = [&](size_t line, int index) {
    std::istringstream in(lines[line]);
    std::string text;
    for (int i = 0; i <= index; ++i) in >> text;
    return text;
  };
  CHECK(word(0, 0) == "cuStreamWaitEvent" && word(6, 0) == "cuStreamWaitEvent");
  CHECK(word(0, 1) != word(6, 1));
  CHECK(word(5, 0) == "cuEventRecord" && word(5, 2) == word(6, 2));
  CHECK(word(9, 0) == "cuEventRecord" && word(9, 2) == word(0, 2));
}

TEST("inputs that do not fit are refused by name, before any work, and the session stays usable") {
  const exec::OpenSession gpu = toy::plans().open({});
  Session& session = *gpu.session;
  const auto good = toy::frame(session.shape(), 1, 1, 2, 3, 4);
  const auto refusal = [&](const std::function<void(pi05::PerceiveInput&)>& spoil) {
    auto input = good;
    spoil(input);
    return check::thrownBy([&] { session.startPerceive(0, input); });
  };
  fakeCudaClearLog();
  CHECK_SAYS(refusal([](auto& input) { input.batch = 3; }), "batch is 3, expected 1…2");
  CHECK_SAYS(refusal([](auto& input) { input.images = 0; }), "images is 0");
  CHECK_SAYS(refusal([](auto& input) { input.pixels.pop_back(); }), "images has 95 elements, expected 96");
  CHECK_SAYS(refusal([](auto& input) { input.tokens.pop_back(); }), "not batch × a bucket");
  CHECK_SAYS(refusal([](auto& input) { input.source[3] = 12; }), "source names place 12 of 12");
  CHECK_SAYS(refusal([](auto& input) { input.source[3] = -1; }), "source names place -1");
  CHECK_SAYS(refusal([](auto& input) { input.lengths[0] = 99; }), "a row's length is 99");
  CHECK_SAYS(refusal([](auto& input) { input.prefixLength = 17; }), "17 places");
  CHECK_SAYS(refusal([](auto& input) { input.keep = {-1}; }), "no rows can be kept here");
  CHECK_SAYS(check::thrownBy([&] { session.startPerceive(2, good); }), "slot 2 is not one of 2");
  CHECK(linesOf(fakeCudaLog(), {"cuStream", "cuMemcpy", "cuGraph", "kernel"}).empty());

  auto act = toy::act(session.shape(), 1, 1, 2);
  CHECK_SAYS(check::thrownBy([&] { session.startAct(pi05::wholeSlot(0, 1), act); }), "holds a prefix of 0 rows");
  run(session, 0, good, act);
  CHECK_SAYS(check::thrownBy([&] { session.startAct(pi05::wholeSlot(0, 1), toy::act(session.shape(), 1, 1, 7)); }),
             "no modulation was set for 7 steps");
  act.noise.pop_back();
  CHECK_SAYS(check::thrownBy([&] { session.startAct(pi05::wholeSlot(0, 1), act); }), "noise has 5 elements, expected 6");
  act = toy::act(session.shape(), 1, 1, 2);
  act.state = {1.0f};
  CHECK_SAYS(check::thrownBy([&] { session.startAct(pi05::wholeSlot(0, 1), act); }), "state has 1 elements, expected 0");
  CHECK_SAYS(check::thrownBy([&] { session.setModulation(51, {}); }), "steps is 51");
  CHECK_SAYS(check::thrownBy([&] { session.setModulation(2, {1.0f}); }), "modulation has 1 elements");
  session.startPerceive(1, good);
  CHECK_SAYS(check::thrownBy([&] { session.startPerceive(1, good); }), "slot 1 is being filled already");
}

TEST("least recently used graphs go when there are too many, and come back when needed") {
  pi05::SessionOptions options;
  options.graphs = 2;
  const exec::OpenSession gpu = toy::plans().open(options);
  Session& session = *gpu.session;
  for (int round = 0; round < 3; ++round)
    for (const int steps : {1, 2, 3, 4}) {
      const auto input = toy::frame(session.shape(), steps, 1, 1 + steps % 2, 3, 4);
      const auto act = toy::act(session.shape(), steps, 1, steps);
      CHECK(toy::largestDifference(run(session, 0, input, act).actions,
                                   toy::reference(session.shape(), input, act).act.actions) <= 1e-4f);
    }
}

TEST("whatever call fails, the reason comes out and nothing leaks") {
  const int before = fakeCudaLive();
  for (const char* function : {"cuDevicePrimaryCtxRetain",
                               "cuCtxSetCurrent",
                               "cuCtxGetStreamPriorityRange",
                               "cuStreamCreateWithPriority",
                               "cuMemAlloc_v2",
                               "cuMemHostAlloc",
                               "cuEventCreate",
                               "cuMemsetD8Async",
                               "cuStreamSynchronize",
                               "cuStreamWaitEvent",
                               "cuEventRecord",
                               "cuMemcpyHtoDAsync_v2",
                               "kernel",
                               "cuStreamBeginCapture_v2",
                               "cuStreamEndCapture",
                               "cuGraphInstantiateWithFlags",
                               "cuGraphUpload",
                               "cuGraphLaunch",
                               "cuEventQuery",
                               "cuEventElapsedTime",
                               "cuMemcpyDtoHAsync_v2"})
    for (const int after : {0, 1, 3}) {
      fakeCudaFail(function, after, 700);
      bool failed = false;
      try {
        const exec::OpenSession gpu = toy::plans().open({});
        for (int number = 0; number < 4; ++number)
          run(*gpu.session, number % 2, toy::frame(gpu.session->shape(), number, 1, 2, 3, 4),
              toy::act(gpu.session->shape(), number, 1, 3));
      } catch (const Error& error) {
        failed = true;
        const std::string text = error.what();
        CHECK(text.find("FAKE_ERROR (700), made by a test") != std::string::npos ||
              text.find("TensorRT could not enqueue") == 0);
      }
      // Some functions are called once or twice only; their later faults never come.
      CHECK(failed || after > 0);
      fakeCudaFail(function, -1, 0);
      CHECK(fakeCudaLive() == before);
    }
}
