#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace turbopi {

/// A whole file mapped for reading. The pointers stay valid as long as the object lives.
class MappedFile {
 public:
  /// Throws Error naming the path and the system's reason.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const uint8_t* data() const noexcept { return data_; }
  size_t size() const noexcept { return size_; }
  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

/// Writes a file so that a reader sees the old content or the new, never a part. Throws Error.
void writeFileAtomically(const std::string& path, const void* head, size_t headSize, const void* body, size_t bodySize);

}  // namespace turbopi
