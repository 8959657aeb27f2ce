#include <memory>

#include "base/error.h"
#include "check/joined.h"
#include "check/random_network.h"
#include "check/told.h"
#include "cuda/break_context.h"
#include "pi05/session.h"

namespace turbopi::check {
namespace {

/// A session of its own on one card.
struct Card {
  std::shared_ptr<cuda::Driver> driver = cuda::Driver::load();
  cuda::Context context;
  std::unique_ptr<pi05::Session> session;
  Card(int number, const pi05::CudaModel& m, const std::string& image) : context(driver, number) {
    context.makeCurrent();
    pi05::CudaRequest request = {m, image, randomWeights(m)};
    request.device = number;
    session = std::make_unique<pi05::Session>(driver, pi05::openCudaStages(driver, request), pi05::SessionOptions{});
    session->setModulation(10, timeEmbeddings(m, 10));
  }
  ~Card() {
    enter();
    session.reset();
  }
  void enter() const {
    try {
      context.makeCurrent();
    } catch (const Error&) {
      // The context is gone: the session is to say so.
    }
  }
  std::vector<float> answer(const pi05::PerceiveInput& in, const pi05::ActInput& from) {
    enter();
    session->startPerceive(0, in);
    session->startAct(pi05::wholeSlot(0, 1), from);
    while (!session->perceiveDone(0) || !session->actDone()) {
    }
    session->finishPerceive(0);
    return session->finishAct().actions;
  }
};

}  // namespace

int checkBroken(const cuda::DriverPtr& driver, const std::string& kernels, pi05::CudaModel model) {
  model.vision.depth = model.prefix.depth = model.expert.depth = 2, model.vocabulary = 4096;
  const pi05::PerceiveInput frame = observation(model, 1, 2, 64, 0);
  const pi05::ActInput start = noise(model, 1, 10);
  const int last = driver->deviceCount() - 1;
  int failed = 0;
  std::vector<float> before;
  {
    Card other(last, model, kernels);
    before = other.answer(frame, start);
    if (last > 0) {
      Card broken(0, model, kernels);
      broken.answer(frame, start);
      cuda::breakContext(*broken.driver, broken.context);
      for (int call = 0; call < 2; ++call) {
        std::string reason = "nothing";
        try {
          broken.answer(frame, start);
        } catch (const Error& error) {
          reason = error.what();
        }
        failed += told(reason.find("709") != std::string::npos, "a session in a destroyed context fails: " + reason);
      }
      bool same = true;
      for (int call = 0; call < 20; ++call) same = same && other.answer(frame, start) == before;
      failed += told(same, "meanwhile the session of another card gives the bits it gave");
    }
    cuda::breakContext(*other.driver, other.context);
  }
  Card again(0, model, kernels);
  failed += told(again.answer(frame, start) == before,
                 "contexts destroyed and closed; another session of the same process gives the same bits");
  return failed;
}

}  // namespace turbopi::check
