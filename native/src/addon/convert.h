#pragma once

#include <napi.h>

#include <string>
#include <vector>

#include "exec/gpu_thread.h"
#include "pi05/engine_stages.h"
#include "trt/engine_builder.h"

/// JavaScript values to native ones and back. Wrong types are TypeErrors that name the property.
namespace turbopi::addon {

int64_t integer(const Napi::Object& object, const char* name);
std::string string(const Napi::Object& object, const char* name);
Napi::Object objectAt(const Napi::Object& object, const char* name);

template <typename T, typename Array>
std::vector<T> typedArray(const Napi::Object& object, const char* name, napi_typedarray_type type) {
  const Napi::Value value = object.Get(name);
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type)
    throw Napi::TypeError::New(object.Env(), std::string(name) + " is not a typed array of the right kind");
  const Array array = value.As<Array>();
  const auto* data = reinterpret_cast<const T*>(array.Data());
  return std::vector<T>(data, data + array.ElementLength());
}

pi05::PerceiveInput perceiveInput(const Napi::Object& object);
pi05::ActInput actInput(const Napi::Object& object);
std::vector<pi05::RowPlace> rowPlaces(const Napi::Object& object);
/// {lanes, slots, kept?}.
pi05::SessionOptions sessionOptions(const Napi::Object& object);
/// {name: value, …} in its own order.
trt::PlanKey planKey(const Napi::Object& fields);
std::vector<std::vector<trt::InputRange>> profiles(const Napi::Array& list);

Napi::Object shapeObject(Napi::Env env, const pi05::ModelShape& shape);
Napi::Value perceiveResult(Napi::Env env, const exec::Outcome& outcome);
Napi::Value actResult(Napi::Env env, const exec::Outcome& outcome);
Napi::Value traceResult(Napi::Env env, const exec::Outcome& outcome);

/// An Error with `status` ("invalid", "exhausted", "failed" or "cancelled") and `hint`.
Napi::Value errorValue(Napi::Env env, const std::string& status, const std::string& reason, const std::string& hint);
Napi::Value errorValue(Napi::Env env, const exec::Outcome& outcome);

}  // namespace turbopi::addon
