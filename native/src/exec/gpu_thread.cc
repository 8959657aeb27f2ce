#include "exec/gpu_thread.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

#include "base/error.h"
#include "cuda/break_context.h"

namespace turbopi::exec {
namespace {

/// The driver announces the end of work; this bounds the wait when a failed context announces nothing.
constexpr std::chrono::milliseconds kPatience{2};

/// The slots that a job fills or reads, and, behind all of them, the places of kept rows.
std::set<int> usedBy(const Work& work, int slots) {
  std::set<int> used;
  if (const auto* perceive = std::get_if<PerceiveJob>(&work)) {
    used.insert(perceive->slot);
    for (const int32_t place : perceive->input.keep)
      if (place >= 0) used.insert(slots + place);
  } else if (const auto* act = std::get_if<ActJob>(&work)) {
    for (const auto& [slot, row] : act->rows) used.insert(slot == slots ? slots + row : slot);
  }
  return used;
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
      const bool first = std::holds_alternative<BreakJob>(job.work);
      queue_.insert(first ? queue_.begin() : queue_.end(), std::move(job));
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

bool GpuThread::hasRoom(const Work& work) const {
  if (const auto* perceive = std::get_if<PerceiveJob>(&work)) {
    for (const Flight& flight : flights_)
      if (flight.lane == Lane::kPerceive && flight.slot == perceive->slot) return false;
    return true;
  }
  if (!std::holds_alternative<ActJob>(work)) return true;
  size_t acts = 0;
  for (const Flight& flight : flights_) acts += flight.lane == Lane::kAct ? 1 : 0;
  return acts < pi05::Session::kActs;
}

std::list<GpuThread::Job> GpuThread::takeStartable(const pi05::Session* session) {
  const int slots = session == nullptr ? 0 : session->options().slots;
  std::list<Job> taken;
  bool laneHeld[2] = {false, false};
  std::set<int> usedByHeld;
  const std::lock_guard<std::mutex> lock(mutex_);
  for (auto job = queue_.begin(); job != queue_.end(); ++job) {
    if (std::holds_alternative<TraceJob>(job->work)) {
      // A trace has the GPU to itself: what is before it ends first, what is behind it waits.
      if (job == queue_.begin() && flights_.empty()) taken.splice(taken.begin(), queue_, job);
      return taken;
    }
    const Lane lane = std::holds_alternative<PerceiveJob>(job->work) ? Lane::kPerceive : Lane::kAct;
    const std::set<int> used = usedBy(job->work, slots);
    const bool behind = std::any_of(used.begin(), used.end(), [&](int one) { return usedByHeld.count(one) != 0; });
    bool& held = laneHeld[static_cast<int>(lane)];
    if (!held && !behind && hasRoom(job->work)) {
      taken.splice(taken.begin(), queue_, job);
      return taken;
    }
    held = true;
    usedByHeld.insert(used.begin(), used.end());
    if (laneHeld[0] && laneHeld[1]) return taken;
  }
  return taken;
}

bool GpuThread::startJobs(const OpenSession& gpu) {
  bool moved = false;
  for (;;) {
    std::list<Job> job = takeStartable(gpu.session.get());
    if (job.empty()) return moved;
    moved = true;
    start(gpu, std::move(job));
  }
}

void GpuThread::start(const OpenSession& gpu, std::list<Job> job) {
  const Job& started = job.front();
  pi05::Session* const session = gpu.session.get();
  if (!broken_.empty()) {
    complete(started, Outcome::Status::kFailed, "the GPU session has failed: " + broken_, "restart the server");
    return;
  }
  try {
    if (const auto* perceive = std::get_if<PerceiveJob>(&started.work)) {
      session->startPerceive(perceive->slot, perceive->input);
      flights_.push_back({std::move(job), Lane::kPerceive, perceive->slot});
    } else if (const auto* act = std::get_if<ActJob>(&started.work)) {
      session->startAct(act->rows, act->input);
      flights_.push_back({std::move(job), Lane::kAct, 0});
    } else if (const auto* modulation = std::get_if<ModulationJob>(&started.work)) {
      session->setModulation(modulation->steps, modulation->table);
      complete(started, Outcome::Status::kDone, {});
    } else if (const auto* trace = std::get_if<TraceJob>(&started.work)) {
      Outcome outcome;
      outcome.trace = session->trace(trace->slot, trace->perceive, trace->act);
      started.completion(std::move(outcome));
    } else if (std::holds_alternative<BreakJob>(started.work)) {
      cuda::breakContext(*gpu.driver, *gpu.context);
      complete(started, Outcome::Status::kDone, {});
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
  bool actGoesOn = false;
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
        // The session speaks of its oldest act, which is the first in flight: one behind an act that went on is not asked for,
        // lest that act has ended meanwhile.
        actGoesOn = actGoesOn || !session->actDone();
        if (actGoesOn) {
          ++flight;
          continue;
        }
        outcome.act = session->finishAct();
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
    const bool started = startJobs(gpu);
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
