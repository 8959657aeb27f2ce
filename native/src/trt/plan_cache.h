#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/mapped_file.h"

namespace turbopi::trt {

/// Everything that decides whether a plan may be used again, as named fields in a fixed order. Values have no newline.
class PlanKey {
 public:
  void add(const std::string& name, const std::string& value);
  const std::vector<std::pair<std::string, std::string>>& fields() const noexcept { return fields_; }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

/// A plan on disk: the key it was built under, then TensorRT's bytes.
class PlanFile {
 public:
  static void write(const std::string& path, const PlanKey& key, const void* plan, size_t size);

  /// Why the file can not be used under `key`, naming the first field that differs; empty when it can.
  static std::string mismatch(const std::string& path, const PlanKey& key);

  /// Opens a plan; throws Error with the reason that `mismatch` gives.
  PlanFile(const std::string& path, const PlanKey& key);

  const void* plan() const noexcept { return file_.data() + offset_; }
  size_t size() const noexcept { return file_.size() - offset_; }

 private:
  MappedFile file_;
  size_t offset_ = 0;
};

}  // namespace turbopi::trt
