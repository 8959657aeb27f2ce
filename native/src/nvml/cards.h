#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "cuda/driver.h"
#include "nvml/library.h"

namespace turbopi::nvml {

/// What NVML tells of a card at one moment. What the card or its driver does not tell is absent.
struct Reading {
  /// As CUDA counts cards in this process.
  int device = 0;
  /// Why nothing could be read; empty otherwise.
  std::string reason;
  std::string name;
  std::string uuid;
  std::string pciBusId;
  /// Percent of the last moment in which kernels ran, and in which memory was read or written.
  std::optional<double> utilisation;
  std::optional<double> memoryUtilisation;
  std::optional<double> memoryUsed;
  std::optional<double> memoryTotal;
  std::optional<double> celsius;
  std::optional<double> watts;
  /// Why the clocks are lower than they could be, as NVML's bits.
  std::optional<uint64_t> clockReasons;
  /// Since the driver was loaded.
  std::optional<double> eccCorrected;
  std::optional<double> eccUncorrected;
  /// Processes that compute on it, this one among them.
  std::optional<std::vector<unsigned>> processes;
};

/// Reads cards by their ordinals in CUDA. Every call may block, for as long as the driver likes.
class Cards {
 public:
  /// One reading a device, in order. Throws Error when the driver or NVML cannot be had; what is wrong with one card
  /// stands in its reading.
  std::vector<Reading> read(const std::vector<int>& devices);

 private:
  Reading readOne(int device);

  std::mutex mutex_;
  cuda::DriverPtr driver_;
  LibraryPtr nvml_;
  std::map<int, std::string> busIds_;
};

}  // namespace turbopi::nvml
