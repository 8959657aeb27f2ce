#include "addon/convert.h"

namespace turbopi::addon {
namespace {

Napi::Float32Array floats(Napi::Env env, const std::vector<float>& from) {
  Napi::Float32Array out = Napi::Float32Array::New(env, from.size());
  std::copy(from.begin(), from.end(), out.Data());
  return out;
}

Napi::Array floatLists(Napi::Env env, const std::vector<std::vector<float>>& from) {
  Napi::Array out = Napi::Array::New(env, from.size());
  for (size_t i = 0; i < from.size(); ++i) out.Set(static_cast<uint32_t>(i), floats(env, from[i]));
  return out;
}

trt::Shape shapeAt(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsArray()) throw Napi::TypeError::New(object.Env(), std::string(name) + " is not an array");
  const Napi::Array array = value.As<Napi::Array>();
  trt::Shape shape;
  for (uint32_t i = 0; i < array.Length(); ++i) shape.push_back(array.Get(i).ToNumber().Int64Value());
  return shape;
}

}  // namespace

int64_t integer(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsNumber()) throw Napi::TypeError::New(object.Env(), std::string(name) + " is not a number");
  return value.As<Napi::Number>().Int64Value();
}

std::string string(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsString()) throw Napi::TypeError::New(object.Env(), std::string(name) + " is not a string");
  return value.As<Napi::String>().Utf8Value();
}

Napi::Object objectAt(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsObject()) throw Napi::TypeError::New(object.Env(), std::string(name) + " is not an object");
  return value.As<Napi::Object>();
}

pi05::PerceiveInput perceiveInput(const Napi::Object& object) {
  pi05::PerceiveInput input;
  input.batch = integer(object, "batch");
  input.images = integer(object, "imageCount");
  input.prefixLength = integer(object, "prefixLength");
  input.pixels = typedArray<uint8_t, Napi::Uint8Array>(object, "images", napi_uint8_array);
  input.tokens = typedArray<int64_t, Napi::BigInt64Array>(object, "tokens", napi_bigint64_array);
  input.source = typedArray<int64_t, Napi::BigInt64Array>(object, "source", napi_bigint64_array);
  input.lengths = typedArray<int64_t, Napi::BigInt64Array>(object, "lengths", napi_bigint64_array);
  if (!object.Get("keep").IsUndefined())
    input.keep = typedArray<int32_t, Napi::Int32Array>(object, "keep", napi_int32_array);
  return input;
}

pi05::ActInput actInput(const Napi::Object& object) {
  pi05::ActInput input;
  input.batch = integer(object, "batch");
  input.steps = static_cast<int>(integer(object, "steps"));
  input.noise = typedArray<float, Napi::Float32Array>(object, "noise", napi_float32_array);
  input.updates = typedArray<float, Napi::Float32Array>(object, "updates", napi_float32_array);
  input.targets = typedArray<float, Napi::Float32Array>(object, "targets", napi_float32_array);
  input.state = typedArray<float, Napi::Float32Array>(object, "state", napi_float32_array);
  return input;
}

std::vector<pi05::RowPlace> rowPlaces(const Napi::Object& object) {
  const auto pairs = typedArray<int32_t, Napi::Int32Array>(object, "rows", napi_int32_array);
  if (pairs.size() % 2 != 0) throw Napi::TypeError::New(object.Env(), "rows is not pairs of slot and row");
  std::vector<pi05::RowPlace> rows;
  for (size_t i = 0; i < pairs.size(); i += 2) rows.push_back({pairs[i], pairs[i + 1]});
  return rows;
}

pi05::SessionOptions sessionOptions(const Napi::Object& object) {
  pi05::SessionOptions options;
  options.lanes = static_cast<int>(integer(object, "lanes"));
  options.slots = static_cast<int>(integer(object, "slots"));
  if (!object.Get("kept").IsUndefined()) options.kept = static_cast<int>(integer(object, "kept"));
  return options;
}

trt::PlanKey planKey(const Napi::Object& fields) {
  trt::PlanKey key;
  const Napi::Array names = fields.GetPropertyNames();
  for (uint32_t i = 0; i < names.Length(); ++i) {
    const std::string name = names.Get(i).ToString();
    key.add(name, string(fields, name.c_str()));
  }
  return key;
}

std::vector<std::vector<trt::InputRange>> profiles(const Napi::Array& list) {
  std::vector<std::vector<trt::InputRange>> out;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Array ranges = list.Get(i).As<Napi::Array>();
    out.emplace_back();
    for (uint32_t j = 0; j < ranges.Length(); ++j) {
      const Napi::Object range = ranges.Get(j).As<Napi::Object>();
      out.back().push_back(
          {string(range, "tensor"), shapeAt(range, "min"), shapeAt(range, "opt"), shapeAt(range, "max")});
    }
  }
  return out;
}

Napi::Object shapeObject(Napi::Env env, const pi05::ModelShape& shape) {
  Napi::Object out = Napi::Object::New(env);
  const auto set = [&](const char* name, int64_t value) { out.Set(name, static_cast<double>(value)); };
  set("imageSize", shape.imageSize);
  set("imageTokens", shape.imageTokens);
  set("width", shape.width);
  set("layers", shape.layers);
  set("kvHeads", shape.kvHeads);
  set("headDim", shape.headDim);
  set("horizon", shape.horizon);
  set("actionDim", shape.actionDim);
  set("modulation", shape.modulation);
  set("maxBatch", shape.maxBatch);
  set("maxImages", shape.maxImages);
  set("maxPrefix", shape.maxPrefix);
  out.Set("state", shape.state);
  out.Set("given", shape.given);
  out.Set("joins", shape.joins);
  Napi::Array buckets = Napi::Array::New(env);
  for (size_t i = 0; i < shape.tokenBuckets.size(); ++i)
    buckets.Set(static_cast<uint32_t>(i), static_cast<double>(shape.tokenBuckets[i]));
  out.Set("tokenBuckets", buckets);
  return out;
}

Napi::Value perceiveResult(Napi::Env env, const exec::Outcome& outcome) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("visionMs", outcome.perceive.visionMs);
  out.Set("prefixMs", outcome.perceive.prefixMs);
  return out;
}

Napi::Value actResult(Napi::Env env, const exec::Outcome& outcome) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("denoiseMs", outcome.act.denoiseMs);
  out.Set("actions", floats(env, outcome.act.actions));
  return out;
}

Napi::Value traceResult(Napi::Env env, const exec::Outcome& outcome) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("imageEmbeddings", floats(env, outcome.trace.imageEmbeddings));
  out.Set("keys", floatLists(env, outcome.trace.keys));
  out.Set("values", floatLists(env, outcome.trace.values));
  out.Set("x", floatLists(env, outcome.trace.x));
  out.Set("velocity", floatLists(env, outcome.trace.velocity));
  out.Set("actions", floats(env, outcome.trace.act.actions));
  return out;
}

Napi::Value errorValue(Napi::Env env, const std::string& status, const std::string& reason, const std::string& hint) {
  const Napi::Error error = Napi::Error::New(env, reason);
  error.Value().Set("status", status);
  error.Value().Set("hint", hint);
  return error.Value();
}

Napi::Value errorValue(Napi::Env env, const exec::Outcome& outcome) {
  const char* status = outcome.status == exec::Outcome::Status::kInvalid     ? "invalid"
                       : outcome.status == exec::Outcome::Status::kExhausted ? "exhausted"
                       : outcome.status == exec::Outcome::Status::kCancelled ? "cancelled"
                                                                             : "failed";
  return errorValue(env, status, outcome.reason, outcome.hint);
}

}  // namespace turbopi::addon
