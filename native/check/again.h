#pragma once

#include <functional>
#include <vector>

#include "pi05/session.h"

namespace turbopi::check {

/// An observation and the noise of its actions.
struct Frame {
  pi05::PerceiveInput perceive;
  pi05::ActInput act;
};

/// Frames in turn, for `seconds`, through a session whose workspace is poisoned: all tensors must have the bits that `clean`
/// gives. Prints what differs; returns in how many rounds, and one more if the card failed.
///
/// To be run in several processes at once: a card puts kernels aside for those of another process and takes them up again, and
/// what waits for too little is seen then.
int checkAgain(pi05::Session& clean, pi05::Session& poisoned, const std::vector<Frame>& frames, int seconds);

/// Does `work` in so many processes, before any of them has used the card. Returns how many of them failed.
int inProcesses(int count, const std::function<int()>& work);

}  // namespace turbopi::check
