#include "trt/library.h"

#include "base/error.h"

#ifndef NV_TENSORRT_VERSION
#define NV_TENSORRT_VERSION (NV_TENSORRT_MAJOR * 10000 + NV_TENSORRT_MINOR * 100 + NV_TENSORRT_PATCH)
#endif

namespace turbopi::trt {
namespace {

#ifdef TURBO_PI_MOCK_TENSORRT
constexpr bool kBuiltAgainstMock = true;
#else
constexpr bool kBuiltAgainstMock = false;
#endif

constexpr const char* kRebuildHint =
    "install TensorRT's headers (on Ubuntu: apt-get install libnvinfer-headers-dev libnvonnxparsers-dev) and run "
    "TENSORRT_INCLUDE_DIR=<directory of NvInfer.h> npm run build:native";

std::string soname(const char* library) { return std::string(library) + ".so." + std::to_string(NV_TENSORRT_MAJOR); }

template <typename Object>
std::unique_ptr<Object> made(void* object, const char* what) {
  require(object != nullptr, std::string("TensorRT could not make ") + what);
  return std::unique_ptr<Object>(static_cast<Object*>(object));
}

}  // namespace

std::string Library::headerVersion() {
  return std::to_string(NV_TENSORRT_MAJOR) + "." + std::to_string(NV_TENSORRT_MINOR) + "." +
         std::to_string(NV_TENSORRT_PATCH);
}

LibraryPtr Library::load() {
  std::shared_ptr<Library> loaded(new Library(DynLib::open(
      {soname("libnvinfer")}, "install TensorRT " + std::to_string(NV_TENSORRT_MAJOR) +
                                  " (on Ubuntu: apt-get install tensorrt-libs) or use the container image")));
  const DynLib& library = loaded->library_;
  const bool fake = library.find("turboPiFakeTensorRt") != nullptr;
  require(fake == kBuiltAgainstMock,
          kBuiltAgainstMock
              ? "this addon was built without TensorRT's headers, so it can not call the installed TensorRT"
              : library.name() + " is the tests' stand-in for TensorRT, not TensorRT",
          kBuiltAgainstMock ? kRebuildHint : "take the tests' folder out of LD_LIBRARY_PATH");

  const int version = library.get<int32_t()>("getInferLibVersion")();
  const int major = version / 10000;
  const int minor = version / 100 % 100;
  loaded->version_ = std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(version % 100);
  if (void* build = library.find("getInferLibBuildVersion"))
    loaded->version_ += "." + std::to_string(reinterpret_cast<int32_t (*)()>(build)());
  require(major == NV_TENSORRT_MAJOR && minor >= NV_TENSORRT_MINOR,
          "the installed TensorRT is " + loaded->version_ + ", this addon was built for " +
              std::to_string(NV_TENSORRT_MAJOR) + "." + std::to_string(NV_TENSORRT_MINOR) + " or a later " +
              std::to_string(NV_TENSORRT_MAJOR) + ".x",
          kRebuildHint);
  return loaded;
}

std::unique_ptr<nvinfer1::IRuntime> Library::createRuntime(nvinfer1::ILogger& logger) const {
  const auto create = library_.get<void*(void*, int32_t)>("createInferRuntime_INTERNAL");
  return made<nvinfer1::IRuntime>(create(&logger, NV_TENSORRT_VERSION), "a runtime");
}

std::unique_ptr<nvinfer1::IBuilder> Library::createBuilder(nvinfer1::ILogger& logger) const {
  const auto create = library_.get<void*(void*, int32_t)>("createInferBuilder_INTERNAL");
  return made<nvinfer1::IBuilder>(create(&logger, NV_TENSORRT_VERSION), "a builder");
}

std::unique_ptr<nvonnxparser::IParser> Library::createParser(nvinfer1::INetworkDefinition& network,
                                                             nvinfer1::ILogger& logger) const {
  const DynLib parser = DynLib::open({soname("libnvonnxparser")}, "install TensorRT's ONNX parser (libnvonnxparsers)");
  const auto create = parser.get<void*(void*, void*, int)>("createNvOnnxParser_INTERNAL");
  return made<nvonnxparser::IParser>(create(&network, &logger, NV_ONNX_PARSER_VERSION), "an ONNX parser");
}

}  // namespace turbopi::trt
