#pragma once

#include <stdexcept>
#include <string>

namespace turbopi {

/// A failure that a user can act on: `what()` is the reason, `hint()` the thing to do (may be empty).
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& reason, std::string hint = {})
      : std::runtime_error(reason), hint_(std::move(hint)) {}
  const std::string& hint() const noexcept { return hint_; }

 private:
  std::string hint_;
};

/// Work that its owner called off; not a fault.
class Cancelled : public Error {
 public:
  Cancelled() : Error("cancelled") {}
};

/// The device has no memory left for what was asked; what was there before is as it was.
class OutOfMemory : public Error {
 public:
  using Error::Error;
};

/// A call whose arguments do not fit; nothing was started and the callee is as usable as before.
class InvalidInput : public Error {
 public:
  using Error::Error;
};

/// Throws when an invariant that a caller could break does not hold.
inline void require(bool condition, const std::string& reason, const std::string& hint = {}) {
  if (!condition) throw Error(reason, hint);
}

}  // namespace turbopi
