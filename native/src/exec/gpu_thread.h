#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "pi05/session.h"

namespace turbopi::exec {

struct PerceiveJob {
  int slot = 0;
  pi05::PerceiveInput input;
};
struct ActJob {
  std::vector<pi05::RowPlace> rows;
  pi05::ActInput input;
};
struct ModulationJob {
  int steps = 0;
  std::vector<float> table;
};
struct TraceJob {
  int slot = 0;
  pi05::PerceiveInput perceive;
  pi05::ActInput act;
};
/// Destroys the context (cuda/break_context.h), before anything that waits: for tests. No other session may be in it.
struct BreakJob {};
using Work = std::variant<PerceiveJob, ActJob, ModulationJob, TraceJob, BreakJob>;

/// How a job ended. Exactly one completion is called for every job submitted.
struct Outcome {
  /// kExhausted: there was no memory for it; the session is as usable as before.
  enum class Status { kDone, kInvalid, kExhausted, kFailed, kCancelled };
  Status status = Status::kDone;
  std::string reason;
  std::string hint;
  pi05::PerceiveResult perceive;
  pi05::ActResult act;
  pi05::Trace trace;
};
/// Called on the GPU thread, or on the caller's for work refused at the door; must not throw.
using Completion = std::function<void(Outcome&&)>;

/// A session with the CUDA context it lives in.
struct OpenSession {
  /// The table that this session calls the driver by, and no other.
  std::shared_ptr<cuda::Driver> driver;
  std::unique_ptr<cuda::Context> context;
  std::unique_ptr<pi05::Session> session;
};

/// The one thread that owns a GPU session: jobs go in from any thread, completions come out.
///
/// Jobs of one lane start in the order they came; so do jobs that share a slot or a place where a row is kept. A slot has
/// one perceive in flight, and Session::kActs acts are. Within that, a job is put into its stream as soon as it may be,
/// before its forerunners end: the GPU orders them by events, and goes from one frame to the next without waiting for the
/// host.
class GpuThread {
 public:
  using Opened = std::function<void(const pi05::ModelShape* shape, const std::string& reason, const std::string& hint)>;

  /// `open` runs on the new thread; `opened` is called there with the shape, or with nullptr and the reason.
  GpuThread(std::function<OpenSession()> open, Opened opened);
  /// As close, and waits for the end.
  ~GpuThread();
  GpuThread(const GpuThread&) = delete;
  GpuThread& operator=(const GpuThread&) = delete;

  /// Returns the job's number for cancel.
  uint64_t submit(Work work, Completion completion);
  /// Takes a job out that has not started; its completion gets kCancelled. False when it has started or ended.
  bool cancel(uint64_t job);
  /// Cancels what has not started, lets work in flight end, frees the session, then calls `closed` on the GPU thread.
  void close(std::function<void()> closed = {});

 private:
  struct Job {
    uint64_t number;
    Work work;
    Completion completion;
  };
  enum class Lane { kPerceive, kAct };
  struct Flight {
    std::list<Job> job;
    Lane lane;
    /// Of a perceive.
    int slot;
  };
  /// What wakes the GPU thread: submitters, and the driver when work ends.
  struct Bell {
    std::mutex mutex;
    std::condition_variable rung;
    bool ringing = false;
    void ring();
  };

  void run(const std::function<OpenSession()>& open, const Opened& opened);
  bool startJobs(const OpenSession& gpu);
  bool finishJobs(pi05::Session* session);
  /// Takes the first job out of the queue that nothing before it holds back.
  std::list<Job> takeStartable(const pi05::Session* session);
  /// Whether its lane and slot have room for the job beside what is in flight.
  bool hasRoom(const Work& work) const;
  void start(const OpenSession& gpu, std::list<Job> job);
  void breakDown(const std::string& reason);
  void cancelQueued();
  static void complete(const Job& job, Outcome::Status status, const std::string& reason, const std::string& hint = {});

  Bell bell_;
  std::mutex mutex_;
  std::list<Job> queue_;
  uint64_t next_ = 1;
  bool closing_ = false;
  std::function<void()> closed_;
  // The GPU thread's own.
  std::list<Flight> flights_;
  std::string broken_;
  std::thread thread_;
};

}  // namespace turbopi::exec
