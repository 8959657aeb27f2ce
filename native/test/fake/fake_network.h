#pragma once

#include <NvInfer.h>

#include <string>

/// What the stand-in parser finds out about a toy graph and the stand-in builder makes a plan of.
class FakeNetwork final : public nvinfer1::INetworkDefinition {
 public:
  /// "vision", "prefix" or "denoise"; empty until parsed.
  std::string graph;
  /// The one weight of the toy model.
  float scale = 0;
};
