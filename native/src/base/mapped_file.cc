#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/error.h"

namespace turbopi {
namespace {

std::string systemReason(const std::string& path) { return path + ": " + std::strerror(errno); }

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const noexcept { return fd_; }

 private:
  int fd_;
};

bool writeAll(int fd, const void* data, size_t size) {
  const char* next = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = ::write(fd, next, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    next += written;
    size -= static_cast<size_t>(written);
  }
  return true;
}

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  require(file.get() >= 0, systemReason(path));
  struct stat info{};
  require(::fstat(file.get(), &info) == 0, systemReason(path));
  require(S_ISREG(info.st_mode) && info.st_size > 0, path + ": not a file with content");
  size_ = static_cast<size_t>(info.st_size);
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
  require(address != MAP_FAILED, systemReason(path));
  data_ = static_cast<const uint8_t*>(address);
}

MappedFile::~MappedFile() { ::munmap(const_cast<uint8_t*>(data_), size_); }

void writeFileAtomically(const std::string& path, const void* head, size_t headSize, const void* body,
                         size_t bodySize) {
  const std::string temporary = path + ".tmp" + std::to_string(::getpid());
  {
    const Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    require(file.get() >= 0, systemReason(temporary), "make the directory writable");
    if (!writeAll(file.get(), head, headSize) || !writeAll(file.get(), body, bodySize) || ::fsync(file.get()) != 0) {
      const std::string reason = systemReason(temporary);
      ::unlink(temporary.c_str());
      throw Error(reason, "free disk space or choose another cache directory");
    }
  }
  if (std::rename(temporary.c_str(), path.c_str()) != 0) {
    const std::string reason = systemReason(path);
    ::unlink(temporary.c_str());
    throw Error(reason);
  }
}

}  // namespace turbopi
