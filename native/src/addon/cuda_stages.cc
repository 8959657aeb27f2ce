#include "addon/cuda_stages.h"

#include "addon/convert.h"
#include "pi05/cuda_stages.h"

namespace turbopi::addon {
namespace {

double number(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsNumber()) throw Napi::TypeError::New(object.Env(), std::string(name) + " is not a number");
  return value.As<Napi::Number>().DoubleValue();
}

int size(const Napi::Object& object, const char* name) { return static_cast<int>(integer(object, name)); }

bool flag(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsBoolean()) throw Napi::TypeError::New(object.Env(), std::string(name) + " is not a boolean");
  return value.As<Napi::Boolean>().Value();
}

Napi::Array array(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsArray()) throw Napi::TypeError::New(object.Env(), std::string(name) + " is not an array");
  return value.As<Napi::Array>();
}

pi05::Transformer transformer(const Napi::Object& model, const char* name) {
  const Napi::Object object = objectAt(model, name);
  return {size(object, "width"), size(object, "depth"),   size(object, "mlp"),
          size(object, "heads"), size(object, "kvHeads"), size(object, "headDim"),
          flag(object, "float8")};
}

pi05::CudaModel model(const Napi::Object& object) {
  pi05::CudaModel out;
  out.pi05 = flag(object, "pi05");
  out.given = flag(object, "given");
  out.element =
      string(object, "element") == "float32" ? pi05::ElementType::kFloat32 : pi05::ElementType::kBFloat16;
  out.vision = transformer(object, "vision");
  out.prefix = transformer(object, "prefix");
  out.expert = transformer(object, "expert");
  out.imageSize = size(object, "imageSize");
  out.patch = size(object, "patch");
  out.vocabulary = size(object, "vocabulary");
  out.horizon = size(object, "horizon");
  out.actionDim = size(object, "actionDim");
  out.ropeTheta = number(object, "ropeTheta");
  out.rmsEpsilon = static_cast<float>(number(object, "rmsEpsilon"));
  out.layerNormEpsilon = static_cast<float>(number(object, "layerNormEpsilon"));
  out.maxBatch = size(object, "maxBatch");
  out.maxImages = size(object, "maxImages");
  out.maxPrefix = size(object, "maxPrefix");
  const Napi::Array buckets = array(object, "tokenBuckets");
  for (uint32_t i = 0; i < buckets.Length(); ++i) out.tokenBuckets.push_back(buckets.Get(i).ToNumber().Int64Value());
  return out;
}

pi05::WeightPiece piece(const Napi::Object& object) {
  const std::string type = string(object, "type");
  pi05::WeightPiece out;
  out.file = string(object, "file");
  out.offset = static_cast<uint64_t>(integer(object, "offset"));
  out.elements = static_cast<uint64_t>(integer(object, "elements"));
  out.type = type == "F32"   ? pi05::WeightPiece::Type::kFloat32
             : type == "F16" ? pi05::WeightPiece::Type::kFloat16
                             : pi05::WeightPiece::Type::kBFloat16;
  return out;
}

}  // namespace

pi05::CudaRequest cudaRequest(const Napi::Object& object) {
  pi05::CudaRequest request;
  request.model = model(objectAt(object, "model"));
  request.kernels = string(object, "kernels");
  request.tuned = flag(object, "tuned");
  request.readers = static_cast<unsigned>(size(object, "readers"));
  const Napi::Array weights = array(object, "weights");
  for (uint32_t i = 0; i < weights.Length(); ++i) {
    const Napi::Object weight = weights.Get(i).As<Napi::Object>();
    pi05::WeightSource source;
    source.name = string(weight, "name");
    const Napi::Array pieces = array(weight, "pieces");
    for (uint32_t j = 0; j < pieces.Length(); ++j) source.pieces.push_back(piece(pieces.Get(j).As<Napi::Object>()));
    request.weights.push_back(std::move(source));
  }
  return request;
}

OpenStages cudaStages(const Napi::Object& object) {
  return [request = cudaRequest(object)](const cuda::DriverPtr& driver, int device) {
    pi05::CudaRequest here = request;
    here.device = device;
    return pi05::openCudaStages(driver, here);
  };
}

}  // namespace turbopi::addon
