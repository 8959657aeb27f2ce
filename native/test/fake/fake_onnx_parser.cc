#include <NvOnnxParser.h>

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "fake_network.h"

/// The stand-in libnvonnxparser.so.10: knows the toy graphs by name and takes their one external weight.

namespace {

class FakeParserError final : public nvonnxparser::IParserError {
 public:
  explicit FakeParserError(std::string text) : text_(std::move(text)) {}
  const char* desc() const override { return text_.c_str(); }
  int node() const override { return 0; }

 private:
  std::string text_;
};

class FakeParser final : public nvonnxparser::IParser {
 public:
  explicit FakeParser(FakeNetwork& network) : network_(network) {}

  int getNbErrors() const noexcept override { return static_cast<int>(errors_.size()); }
  const nvonnxparser::IParserError* getError(int index) const noexcept override {
    return &errors_[static_cast<size_t>(index)];
  }

  bool loadModelProto(const void* model, std::size_t size, const char*) noexcept override {
    const std::string_view text(static_cast<const char*>(model), size);
    for (const char* graph : {"vision", "prefix", "denoise"})
      if (text.find(std::string("toy:") + graph) != std::string_view::npos) graph_ = graph;
    return !graph_.empty() || refuse("the model has no toy graph");
  }
  bool loadInitializer(const char* name, const void* data, std::size_t size) noexcept override {
    if (std::strcmp(name, "scale") != 0 || size != sizeof(float))
      return refuse("unexpected initializer " + std::string(name));
    weight_ = data;
    return true;
  }
  bool parseModelProto() noexcept override {
    if (weight_ == nullptr) return refuse("the initializer scale was not loaded");
    network_.graph = graph_;
    std::memcpy(&network_.scale, weight_, sizeof network_.scale);
    return true;
  }

 private:
  bool refuse(const std::string& reason) {
    errors_.emplace_back(reason);
    return false;
  }

  FakeNetwork& network_;
  std::string graph_;
  const void* weight_ = nullptr;
  std::vector<FakeParserError> errors_;
};

}  // namespace

extern "C" void* createNvOnnxParser_INTERNAL(void* network, void*, int) {
  return static_cast<nvonnxparser::IParser*>(
      new FakeParser(static_cast<FakeNetwork&>(*static_cast<nvinfer1::INetworkDefinition*>(network))));
}
