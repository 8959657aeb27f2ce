#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "pi05/session.h"

namespace turbopi::check {

/// Where a tensor has other bits: "keys of layer 3: 12 of 147456 values from 288 on, by up to 0.5"; nothing when it has the same.
inline std::string unlike(const std::string& what, const std::vector<float>& a, const std::vector<float>& b) {
  if (a == b) return "";
  if (a.size() != b.size()) return what + ": " + std::to_string(a.size()) + " and " + std::to_string(b.size()) + " values";
  size_t count = 0, first = 0;
  float largest = 0;
  bool numbers = true;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) continue;
    if (count++ == 0) first = i;
    const float difference = std::fabs(a[i] - b[i]);
    if (std::isnan(difference)) numbers = false;
    else largest = std::max(largest, difference);
  }
  return what + ": " + std::to_string(count) + " of " + std::to_string(a.size()) + " values from " + std::to_string(first) +
         " on, by up to " + std::to_string(largest) + (numbers ? "" : ", and what is no number");
}

/// The first tensor that differs, in the order in which they are computed; nothing when all are the same.
inline std::string unlike(const pi05::Trace& a, const pi05::Trace& b) {
  std::string found = unlike("image embeddings", a.imageEmbeddings, b.imageEmbeddings);
  for (size_t l = 0; found.empty() && l < a.keys.size(); ++l) {
    found = unlike("keys of layer " + std::to_string(l), a.keys[l], b.keys[l]);
    if (found.empty()) found = unlike("values of layer " + std::to_string(l), a.values[l], b.values[l]);
  }
  for (size_t k = 0; found.empty() && k < a.velocity.size(); ++k)
    found = unlike("velocities of step " + std::to_string(k), a.velocity[k], b.velocity[k]);
  return found.empty() ? unlike("actions", a.act.actions, b.act.actions) : found;
}

}  // namespace turbopi::check
