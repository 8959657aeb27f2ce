#pragma once

#include <NvInfer.h>
#include <NvOnnxParser.h>

#include <memory>
#include <string>

#include "base/dyn_lib.h"

namespace turbopi::trt {

/// TensorRT loaded at run time, after a check that its binary interface is the one compiled against: everything but
/// the few C entry points is a virtual call, and a table of another version would be a segmentation fault.
class Library {
 public:
  /// Loads libnvinfer. Throws Error with a reason and a hint.
  static std::shared_ptr<const Library> load();

  /// Full version of the loaded library, for example "10.13.3.9".
  const std::string& version() const noexcept { return version_; }
  /// Version of the headers that this addon was compiled with.
  static std::string headerVersion();

  std::unique_ptr<nvinfer1::IRuntime> createRuntime(nvinfer1::ILogger& logger) const;
  std::unique_ptr<nvinfer1::IBuilder> createBuilder(nvinfer1::ILogger& logger) const;
  /// Loads libnvonnxparser on first use: serving needs no parser.
  std::unique_ptr<nvonnxparser::IParser> createParser(nvinfer1::INetworkDefinition& network,
                                                      nvinfer1::ILogger& logger) const;

 private:
  explicit Library(DynLib library) : library_(std::move(library)) {}

  DynLib library_;
  std::string version_;
};

using LibraryPtr = std::shared_ptr<const Library>;

}  // namespace turbopi::trt
