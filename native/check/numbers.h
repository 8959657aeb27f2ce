#pragma once

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <vector>

namespace turbopi::check {

/// "1,2,32" as numbers; empty where there is none.
inline std::vector<int> numbers(const char* list) {
  std::vector<int> all;
  for (const char* next = list; *next != 0; next += std::strcspn(next, ","), next += *next == ',') {
    const int value = std::atoi(next);
    if (value < 1) throw std::invalid_argument("--rows takes counts of rows from 1 on, as 1,2,32");
    all.push_back(value);
  }
  return all;
}

}  // namespace turbopi::check
