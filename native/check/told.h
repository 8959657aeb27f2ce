#pragma once

#include <cstdio>
#include <string>

namespace turbopi::check {

/// Prints whether something is so; 1 when it is not.
inline int told(bool good, const std::string& what) {
  std::printf("%s %s\n", good ? "ok  " : "FAIL", what.c_str());
  std::fflush(stdout);
  return good ? 0 : 1;
}

}  // namespace turbopi::check
