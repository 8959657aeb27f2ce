#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "toy_model.h"
#include "trt/engine_builder.h"

/// Writes and builds the toy model.
namespace turbopi::toy {

inline std::string field(uint32_t number, const std::string& bytes) {
  std::string out;
  const auto varint = [&](uint64_t value) {
    for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
    out += static_cast<char>(value);
  };
  varint(number << 3 | 2);
  varint(bytes.size());
  return out + bytes;
}

inline std::string entry(const std::string& key, const std::string& value) {
  return field(13, field(1, key) + field(2, value));
}

/// A ModelProto whose graph is named "toy:<graph>" and has one external initializer.
inline std::string onnx(const std::string& graph, const std::string& location, size_t offset, size_t length) {
  const std::string external = std::string("\x70\x01", 2);  // data_location = EXTERNAL
  const std::string tensor = field(8, "scale") + entry("location", location) + entry("offset", std::to_string(offset)) +
                             entry("length", std::to_string(length)) + external;
  return field(7, field(2, "toy:" + graph) + field(5, tensor));
}

inline void writeFile(const std::string& path, const std::string& bytes) {
  writeFileAtomically(path, nullptr, 0, bytes.data(), bytes.size());
}

/// The three graphs and the weights file.
inline void writeModel(const std::string& directory) {
  std::string weights(64, '\0');
  const float scale = kScale;
  weights.append(reinterpret_cast<const char*>(&scale), sizeof scale);
  writeFile(directory + "/weights.bin", weights);
  for (const char* graph : {"vision", "prefix", "denoise"})
    writeFile(directory + "/" + graph + ".onnx", onnx(graph, "weights.bin", 64, sizeof scale));
}

constexpr int64_t kCameras = 2;
constexpr int64_t kMaxBatch = 2;
inline std::vector<int64_t> buckets() { return {4, 8}; }

inline std::vector<std::vector<trt::InputRange>> profiles(const std::string& graph, bool state) {
  const pi05::ModelShape m = smallShape();
  const int64_t s = m.imageSize;
  const int64_t imagePlaces = kCameras * m.imageTokens;
  const int64_t images = kCameras * kMaxBatch;
  using Ranges = std::vector<trt::InputRange>;
  if (graph == "vision") return {Ranges{{"images", {1, s, s, 3}, {kCameras, s, s, 3}, {images, s, s, 3}}}};
  if (graph == "prefix") {
    std::vector<Ranges> out;
    for (const int64_t bucket : buckets())
      out.push_back({{"image_embeddings",
                      {1, m.imageTokens, m.width},
                      {kCameras, m.imageTokens, m.width},
                      {images, m.imageTokens, m.width}},
                     {"tokens", {bucket}, {bucket}, {kMaxBatch * bucket}},
                     {"source", {1, bucket}, {1, imagePlaces + bucket}, {kMaxBatch, imagePlaces + bucket}},
                     {"lengths", {1}, {1}, {kMaxBatch}}});
    return out;
  }
  const int64_t most = imagePlaces + buckets().back();
  Ranges out{{"x", {1, m.horizon, m.actionDim}, {1, m.horizon, m.actionDim}, {kMaxBatch, m.horizon, m.actionDim}},
             {"update", {1, m.horizon, 3}, {1, m.horizon, 3}, {kMaxBatch, m.horizon, 3}},
             {"target", {1, m.horizon, m.actionDim}, {1, m.horizon, m.actionDim}, {kMaxBatch, m.horizon, m.actionDim}},
             {"lengths", {1}, {1}, {kMaxBatch}}};
  if (state) out.push_back({"state", {1, m.actionDim}, {1, m.actionDim}, {kMaxBatch, m.actionDim}});
  for (int64_t layer = 0; layer < m.layers; ++layer)
    for (const char* kind : {"keys.", "values."})
      out.push_back({kind + std::to_string(layer),
                     {1, m.kvHeads, buckets().front(), m.headDim},
                     {1, m.kvHeads, most, m.headDim},
                     {kMaxBatch, m.kvHeads, most, m.headDim}});
  return {out};
}

}  // namespace turbopi::toy
