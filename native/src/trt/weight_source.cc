#include "trt/weight_source.h"

#include <limits>
#include <map>

#include "base/error.h"

namespace turbopi::trt {
namespace {

// Field numbers of onnx.proto.
constexpr uint32_t kModelGraph = 7;
constexpr uint32_t kGraphInitializer = 5;
constexpr uint32_t kTensorName = 8;
constexpr uint32_t kTensorExternalData = 13;
constexpr uint32_t kTensorDataLocation = 14;
constexpr uint32_t kEntryKey = 1;
constexpr uint32_t kEntryValue = 2;
constexpr uint64_t kExternal = 1;

/// Walks the fields of one protobuf message.
class MessageReader {
 public:
  MessageReader(const uint8_t* data, size_t size) : next_(data), end_(data + size) {}

  uint32_t field = 0;
  uint64_t number = 0;
  const uint8_t* data = nullptr;
  size_t size = 0;

  /// Moves to the next field; `data` is null for fields that are numbers.
  bool advance() {
    if (next_ == end_) return false;
    const uint64_t tag = varint();
    field = static_cast<uint32_t>(tag >> 3);
    data = nullptr;
    size = 0;
    switch (tag & 7) {
      case 0:
        number = varint();
        return true;
      case 1:
        skip(8);
        return true;
      case 2:
        size = static_cast<size_t>(varint());
        data = next_;
        skip(size);
        return true;
      case 5:
        skip(4);
        return true;
      default:
        throw Error("not an ONNX model: unknown protobuf wire type");
    }
  }

  std::string text() const {
    return data == nullptr ? std::string() : std::string(reinterpret_cast<const char*>(data), size);
  }
  MessageReader message() const { return data == nullptr ? MessageReader(next_, 0) : MessageReader(data, size); }

 private:
  uint64_t varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      require(next_ != end_, "not an ONNX model: it ends inside a number");
      const uint8_t byte = *next_++;
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    throw Error("not an ONNX model: a number is too long");
  }

  void skip(size_t bytes) {
    require(bytes <= static_cast<size_t>(end_ - next_), "not an ONNX model: a field reaches past the end");
    next_ += bytes;
  }

  const uint8_t* next_;
  const uint8_t* end_;
};

uint64_t parseNumber(const std::string& text, const std::string& weight) {
  uint64_t value = 0;
  require(!text.empty(), weight + ": an external_data number is empty");
  for (const char digit : text) {
    require(digit >= '0' && digit <= '9', weight + ": external_data number " + text + " is not a number");
    const auto add = static_cast<uint64_t>(digit - '0');
    require(value <= (std::numeric_limits<uint64_t>::max() - add) / 10,
            weight + ": external_data number " + text + " is too large");
    value = value * 10 + add;
  }
  return value;
}

void readInitializer(MessageReader tensor, std::vector<ExternalWeight>& found) {
  ExternalWeight weight;
  bool external = false;
  std::map<std::string, std::string> entries;
  while (tensor.advance()) {
    if (tensor.field == kTensorName) weight.name = tensor.text();
    if (tensor.field == kTensorDataLocation) external = tensor.number == kExternal;
    if (tensor.field == kTensorExternalData) {
      std::string key;
      std::string value;
      for (MessageReader entry = tensor.message(); entry.advance();) {
        if (entry.field == kEntryKey) key = entry.text();
        if (entry.field == kEntryValue) value = entry.text();
      }
      entries[key] = value;
    }
  }
  if (!external) return;
  require(entries.count("location") == 1 && entries.count("length") == 1,
          weight.name + ": external_data lacks location or length", "export the model again");
  weight.location = entries["location"];
  weight.offset = entries.count("offset") ? parseNumber(entries["offset"], weight.name) : 0;
  weight.length = parseNumber(entries["length"], weight.name);
  found.push_back(weight);
}

}  // namespace

std::vector<ExternalWeight> externalWeights(const uint8_t* model, size_t size) {
  std::vector<ExternalWeight> found;
  bool hasGraph = false;
  for (MessageReader fields(model, size); fields.advance();) {
    if (fields.field != kModelGraph) continue;
    hasGraph = true;
    for (MessageReader graph = fields.message(); graph.advance();)
      if (graph.field == kGraphInitializer) readInitializer(graph.message(), found);
  }
  require(hasGraph, "not an ONNX model: it has no graph");
  return found;
}

WeightSource::WeightSource(const std::string& onnxPath) : model_(onnxPath) {
  const std::string directory = onnxPath.substr(0, onnxPath.find_last_of('/') + 1);
  std::map<std::string, const MappedFile*> byLocation;
  for (const ExternalWeight& weight : externalWeights(model_.data(), model_.size())) {
    require(
        !weight.location.empty() && weight.location.front() != '/' && weight.location.find("..") == std::string::npos,
        onnxPath + ": weight " + weight.name + " lies outside the model's directory, in " + weight.location);
    const MappedFile*& file = byLocation[weight.location];
    if (file == nullptr) {
      files_.push_back(std::make_unique<MappedFile>(directory + weight.location));
      file = files_.back().get();
    }
    require(weight.offset <= file->size() && weight.length <= file->size() - weight.offset,
            file->path() + ": weight " + weight.name + " ends past the end of the file", "export the model again");
    weights_.push_back({weight.name, file->data() + weight.offset, static_cast<size_t>(weight.length)});
  }
}

}  // namespace turbopi::trt
