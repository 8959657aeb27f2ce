#include "exec/gpu_thread.h"

#include <chrono>
#include <set>
#include <utility>

#include "base/error.h"

namespace turbopi::exec {
namespace {

/// The driver announces the end of work; this bounds the wait when a failed context announces nothing.
constexpr std::chrono::milliseconds kPatience{2};

int slotOf(const Work& work) {
  if (const auto* perceive = std::get_if<PerceiveJob>(&work)) return perceive->slot;
  if (const auto* act = std::get_if<ActJob>(&work)) return act->slot;
  if (const auto* trace = std::get_if<TraceJob>(&work)) return trace->slot;
  return 0;
}

}  // namespace

void GpuThread::Bell::ring() {
  {
    const std::lock_guard<std::mutex> lock(mutex);
    ringing = true;
  }
  rung.notify_one();
}

GpuThread::GpuThread(std::function<OpenSession()> open, Opened opened)
    : thread_([this, open = std::move(open), opened = std::move(opened)] { run(open, opened); }) {}

GpuThread::~GpuThread() {
  close();
  thread_.join();
}

void GpuThread::complete(const Job& job, Outcome::Status status, const std::string& reason, const std::string& hint) {
  Outcome outcome;
  outcome.status = status;
  outcome.reason = reason;
  outcome.hint = hint;
  job.completion(std::move(outcome));
}

uint64_t GpuThread::submit(Work work, Completion completion) {
  Job job{0, std::move(work), std::move(completion)};
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    job.number = next_++;
    if (!closing_) {
      queue_.push_back(std::move(job));
      bell_.ring();
      return next_ - 1;
    }
  }
  complete(job, Outcome::Status::kCancelled, "the session is closing");
  return job.number;
}

bool GpuThread::cancel(uint64_t number) {
  std::list<Job> taken;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto job = queue_.begin(); job != queue_.end(); ++job) {
      if (job->number != number) continue;
      taken.splice(taken.begin(), queue_, job);
      break;
    }
  }
  if (taken.empty()) return false;
  complete(taken.front(), Outcome::Status::kCancelled, "cancelled");
  return true;
}

void GpuThread::close(std::function<void()> closed) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
    if (closed) closed_ = std::move(closed);
  }
  bell_.ring();
}

void GpuThread::cancelQueued() {
  std::list<Job> left;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    left.swap(queue_);
  }
  for (const Job& job : left) complete(job, Outcome::Status::kCancelled, "the session is closing");
}

void GpuThread::breakDown(const std::string& reason) {
  if (broken_.empty()) broken_ = reason;
}

bool GpuThread::inFlight(Lane lane, int slot) const {
  for (const Flight& flight : flights_)
    if (flight.lane == lane && flight.slot == slot) return true;
  return false;
}

std::list<GpuThread::Job> GpuThread::takeStartable() {
  std::list<Job> taken;
  bool laneHeld[2] = {false, false};
  std::set<int> slotsHeld;
  const std::lock_guard<std::mutex> lock(mutex_);
  for (auto job = queue_.begin(); job != queue_.end(); ++job) {
    if (std::holds_alternative<TraceJob>(job->work)) {
      // A trace has the GPU to itself: what is before it ends first, what is behind it waits.
      if (job == queue_.begin() && flights_.empty()) taken.splice(taken.begin(), queue_, job);
      return taken;
    }
    const Lane lane = std::holds_alternative<PerceiveJob>(job->work) ? Lane::kPerceive : Lane::kAct;
    const bool usesSlot = !std::holds_alternative<ModulationJob>(job->work);
    const int slot = slotOf(job->work);
    bool& held = laneHeld[static_cast<int>(lane)];
    if (!held && !(usesSlot && (slotsHeld.count(slot) != 0 || inFlight(lane, slot)))) {
      taken.splice(taken.begin(), queue_, job);
      return taken;
    }
    held = true;
    if (usesSlot) slotsHeld.insert(slot);
    if (laneHeld[0] && laneHeld[1]) return taken;
  }
  return taken;
}

bool GpuThread::startJobs(pi05::Session* session) {
  bool moved = false;
  for (;;) {
    std::list<Job> job = takeStartable();
    if (job.empty()) return moved;
    moved = true;
    start(session, std::move(job));
  }
}

void GpuThread::start(pi05::Session* session, std::list<Job> job) {
  const Job& started = job.front();
  if (!broken_.empty()) {
    complete(started, Outcome::Status::kFailed, "the GPU session has failed: " + broken_, "restart the server");
    return;
  }
  try {
    if (const auto* perceive = std::get_if<PerceiveJob>(&started.work)) {
      session->startPerceive(perceive->slot, perceive->input);
      flights_.push_back({std::move(job), Lane::kPerceive, perceive->slot});
    } else if (const auto* act = std::get_if<ActJob>(&started.work)) {
      session->startAct(act->slot, act->input);
      flights_.push_back({std::move(job), Lane::kAct, act->slot});
    } else if (const auto* modulation = std::get_if<ModulationJob>(&started.work)) {
      session->setModulation(modulation->steps, modulation->table);
      complete(started, Outcome::Status::kDone, {});
    } else if (const auto* trace = std::get_if<TraceJob>(&started.work)) {
      Outcome outcome;
      outcome.trace = session->trace(trace->slot, trace->perceive, trace->act);
      started.completion(std::move(outcome));
    }
  } catch (const InvalidInput& error) {
    complete(started, Outcome::Status::kInvalid, error.what());
  } catch (const OutOfMemory& error) {
    try {
      session->settle();
    } catch (const Error& broken) {
      breakDown(broken.what());
    }
    complete(started, Outcome::Status::kExhausted, error.what(), error.hint());
  } catch (const Error& error) {
    breakDown(error.what());
    complete(started, Outcome::Status::kFailed, error.what(), error.hint());
  } catch (const std::exception& error) {
    breakDown(error.what());
    complete(started, Outcome::Status::kFailed, error.what());
  }
}

bool GpuThread::finishJobs(pi05::Session* session) {
  bool moved = false;
  for (auto flight = flights_.begin(); flight != flights_.end();) {
    const Job& job = flight->job.front();
    Outcome outcome;
    try {
      if (flight->lane == Lane::kPerceive) {
        if (!session->perceiveDone(flight->slot)) {
          ++flight;
          continue;
        }
        outcome.perceive = session->finishPerceive(flight->slot);
      } else {
        if (!session->actDone(flight->slot)) {
          ++flight;
          continue;
        }
        outcome.act = session->finishAct(flight->slot);
      }
    } catch (const std::exception& error) {
      breakDown(error.what());
      outcome.status = Outcome::Status::kFailed;
      outcome.reason = error.what();
    }
    moved = true;
    job.completion(std::move(outcome));
    flight = flights_.erase(flight);
  }
  return moved;
}

void GpuThread::run(const std::function<OpenSession()>& open, const Opened& opened) {
  OpenSession gpu;
  try {
    gpu = open();
    gpu.session->onDone([](void* bell) { static_cast<Bell*>(bell)->ring(); }, &bell_);
    opened(&gpu.session->shape(), {}, {});
  } catch (const Error& error) {
    breakDown(error.what());
    opened(nullptr, error.what(), error.hint());
  } catch (const std::exception& error) {
    breakDown(error.what());
    opened(nullptr, error.what(), {});
  }

  for (;;) {
    bool closing = false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      closing = closing_;
    }
    if (closing) cancelQueued();
    const bool finished = finishJobs(gpu.session.get());
    const bool started = startJobs(gpu.session.get());
    if (finished || started) continue;
    if (closing && flights_.empty()) break;
    std::unique_lock<std::mutex> lock(bell_.mutex);
    const auto rung = [this] { return bell_.ringing; };
    if (flights_.empty()) {
      bell_.rung.wait(lock, rung);
    } else {
      bell_.rung.wait_for(lock, kPatience, rung);
    }
    bell_.ringing = false;
  }
  gpu.session.reset();
  gpu.context.reset();
  std::function<void()> closed;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    closed = std::move(closed_);
  }
  if (closed) closed();
}

}  // namespace turbopi::exec
