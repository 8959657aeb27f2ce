#include "trt/plan_cache.h"

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <map>

#include "base/error.h"

namespace turbopi::trt {
namespace {

constexpr const char* kMagic = "turbo-pi plan 1";
constexpr const char* kBytes = "plan bytes";
constexpr const char* kChecksum = "plan checksum";
constexpr size_t kHeaderUnit = 256;
constexpr const char* kBuildHint = "run turbo-pi build";

/// Finds damage, not malice: FNV-1a over 64-bit words, so that a plan of gigabytes is checked at memory speed.
std::string checksum(const uint8_t* data, size_t size) {
  constexpr uint64_t kPrime = 0x100000001b3u;
  uint64_t hash = 0xcbf29ce484222325u;
  for (; size >= sizeof(uint64_t); data += sizeof(uint64_t), size -= sizeof(uint64_t)) {
    uint64_t word;
    std::memcpy(&word, data, sizeof word);
    hash = (hash ^ word) * kPrime;
    hash ^= hash >> 32;
  }
  for (; size > 0; ++data, --size) hash = (hash ^ *data) * kPrime;
  char text[17];
  std::snprintf(text, sizeof text, "%016" PRIx64, hash);
  return text;
}

struct Header {
  std::map<std::string, std::string> fields;
  size_t bytes = 0;
};

Header readHeader(const MappedFile& file) {
  Header header;
  const char* begin = reinterpret_cast<const char*>(file.data());
  const char* end = begin + file.size();
  bool first = true;
  for (const char* line = begin;;) {
    const auto* stop = static_cast<const char*>(std::memchr(line, '\n', static_cast<size_t>(end - line)));
    require(stop != nullptr, "is not a plan of this version");
    const std::string text(line, stop);
    line = stop + 1;
    if (first) {
      require(text == kMagic, "is not a plan of this version");
      first = false;
      continue;
    }
    if (text.empty()) {
      const auto used = static_cast<size_t>(line - begin);
      header.bytes = (used + kHeaderUnit - 1) / kHeaderUnit * kHeaderUnit;
      return header;
    }
    const size_t colon = text.find(": ");
    require(colon != std::string::npos, "has a damaged header");
    header.fields[text.substr(0, colon)] = text.substr(colon + 2);
  }
}

/// Offset of the plan in a file that fits the key; throws Error with the reason otherwise.
size_t checkedOffset(const MappedFile& file, const PlanKey& key) {
  Header header = readHeader(file);
  for (const auto& field : key.fields()) {
    const auto found = header.fields.find(field.first);
    const std::string was = found == header.fields.end() ? "nothing" : found->second;
    require(was == field.second, "was built for another " + field.first + ": " + was + ", now " + field.second);
  }
  require(file.size() >= header.bytes && header.fields[kBytes] == std::to_string(file.size() - header.bytes),
          "is cut short");
  require(header.fields[kChecksum] == checksum(file.data() + header.bytes, file.size() - header.bytes), "is damaged");
  return header.bytes;
}

}  // namespace

void PlanKey::add(const std::string& name, const std::string& value) {
  require(name.find_first_of(":\n") == std::string::npos && value.find('\n') == std::string::npos,
          "plan key field " + name + " has a line break or a colon");
  fields_.emplace_back(name, value);
}

void PlanFile::write(const std::string& path, const PlanKey& key, const void* plan, size_t size) {
  std::string header = std::string(kMagic) + "\n";
  for (const auto& field : key.fields()) header += field.first + ": " + field.second + "\n";
  header += std::string(kBytes) + ": " + std::to_string(size) + "\n";
  header += std::string(kChecksum) + ": " + checksum(static_cast<const uint8_t*>(plan), size) + "\n\n";
  header.resize((header.size() + kHeaderUnit - 1) / kHeaderUnit * kHeaderUnit, '\0');
  writeFileAtomically(path, header.data(), header.size(), plan, size);
}

std::string PlanFile::mismatch(const std::string& path, const PlanKey& key) {
  try {
    const MappedFile file(path);
    checkedOffset(file, key);
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

PlanFile::PlanFile(const std::string& path, const PlanKey& key) : file_(path) {
  try {
    offset_ = checkedOffset(file_, key);
  } catch (const Error& error) {
    throw Error(path + " " + error.what(), kBuildHint);
  }
}

}  // namespace turbopi::trt
