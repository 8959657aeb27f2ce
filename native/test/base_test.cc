#include <unistd.h>

#include <cmath>
#include <string>

#include "base/dyn_lib.h"
#include "base/error.h"
#include "base/half.h"
#include "base/mapped_file.h"
#include "check.h"
#include "toy_files.h"
#include "trt/plan_cache.h"
#include "trt/weight_source.h"

using namespace turbopi;

static std::string directory() {
  static std::string made;
  if (made.empty()) {
    made = "/tmp/turbo-pi-test-XXXXXX";
    if (mkdtemp(made.data()) == nullptr) throw Error("mkdtemp failed");
  }
  return made;
}

static trt::PlanKey key(const std::string& gpu) {
  trt::PlanKey made;
  made.add("graph", "vision");
  made.add("GPU", gpu);
  return made;
}

TEST("a missing library is named, with the loader's reason and the hint") {
  try {
    DynLib::open({"libturbo_pi_absent.so.1"}, "install it");
    CHECK(false);
  } catch (const Error& error) {
    CHECK_SAYS(error.what(), "libturbo_pi_absent.so.1");
    CHECK(error.hint() == "install it");
  }
}

TEST("a missing symbol is named with its library") {
  const DynLib c = DynLib::open({"libc.so.6"}, "");
  CHECK(c.find("turbo_pi_absent") == nullptr);
  CHECK_SAYS(check::thrownBy([&] { c.get<int()>("turbo_pi_absent"); }), "libc.so.6 has no symbol turbo_pi_absent");
}

TEST("half precision numbers become the floats they stand for") {
  CHECK(floatFromBf16(0x3f80) == 1.0f && floatFromBf16(0xc040) == -3.0f);
  CHECK(floatFromFp16(0x3c00) == 1.0f && floatFromFp16(0xc200) == -3.0f && floatFromFp16(0x7bff) == 65504.0f);
  CHECK(floatFromFp16(0x0001) == std::ldexp(1.0f, -24) && floatFromFp16(0x83ff) == -1023.0f * std::ldexp(1.0f, -24));
  CHECK(std::isinf(floatFromFp16(0x7c00)) && std::isnan(floatFromFp16(0x7e00)) && floatFromFp16(0x0000) == 0.0f);
}

TEST("a file is written whole or not at all") {
  const std::string path = directory() + "/atomic";
  toy::writeFile(path, "first");
  toy::writeFile(path, "second");
  const MappedFile file(path);
  CHECK(std::string(reinterpret_cast<const char*>(file.data()), file.size()) == "second");
  CHECK_SAYS(check::thrownBy([&] { toy::writeFile(directory() + "/absent/x", "x"); }), "/absent/x");
  CHECK_SAYS(check::thrownBy([&] { MappedFile(directory() + "/nothing"); }), "No such file");
}

TEST("external weights are found with their place in the weights file") {
  toy::writeModel(directory());
  const trt::WeightSource source(directory() + "/vision.onnx");
  CHECK(source.weights().size() == 1 && source.weights()[0].name == "scale" &&
        source.weights()[0].size == sizeof(float));
  CHECK(*static_cast<const float*>(source.weights()[0].data) == toy::kScale);
}

TEST("a weight past the end of its file, or outside the directory, is refused") {
  const std::string path = directory() + "/bad.onnx";
  toy::writeFile(path, toy::onnx("vision", "weights.bin", 66, 4));
  CHECK_SAYS(check::thrownBy([&] { trt::WeightSource(path).weights(); }), "scale ends past the end");
  toy::writeFile(path, toy::onnx("vision", "../weights.bin", 0, 4));
  CHECK_SAYS(check::thrownBy([&] { trt::WeightSource(path).weights(); }), "outside the model's directory");
  toy::writeFile(path, "this is no protobuf");
  CHECK_SAYS(check::thrownBy([&] { trt::WeightSource(path).weights(); }), "not an ONNX model");
  const std::string cut = toy::onnx("vision", "weights.bin", 0, 4);
  for (size_t length = 1; length < cut.size(); ++length)
    CHECK_SAYS(check::thrownBy([&] { trt::externalWeights(reinterpret_cast<const uint8_t*>(cut.data()), length); }),
               "not an ONNX model");
}

TEST("a plan comes back under the key it was written with") {
  const std::string path = directory() + "/vision.plan";
  const std::string plan(100000, 'p');
  trt::PlanFile::write(path, key("A"), plan.data(), plan.size());
  CHECK(trt::PlanFile::mismatch(path, key("A")).empty());
  const trt::PlanFile file(path, key("A"));
  CHECK(file.size() == plan.size() && reinterpret_cast<uintptr_t>(file.plan()) % 256 == 0);
  CHECK(std::string(static_cast<const char*>(file.plan()), file.size()) == plan);
}

TEST("a plan that does not fit says which part of the key differs") {
  const std::string path = directory() + "/vision.plan";
  CHECK(trt::PlanFile::mismatch(path, key("B")) == "was built for another GPU: A, now B");
  trt::PlanKey more = key("A");
  more.add("driver", "580");
  CHECK(trt::PlanFile::mismatch(path, more) == "was built for another driver: nothing, now 580");
  CHECK_SAYS(check::thrownBy([&] { trt::PlanFile(path, key("B")); }),
             "/vision.plan was built for another GPU: A, now B");
  CHECK_SAYS(trt::PlanFile::mismatch(directory() + "/none.plan", key("A")), "No such file");
}

TEST("a plan that was cut short or damaged is not used") {
  const std::string path = directory() + "/vision.plan";
  const MappedFile whole(path);
  std::string bytes(reinterpret_cast<const char*>(whole.data()), whole.size());
  toy::writeFile(directory() + "/cut.plan", bytes.substr(0, bytes.size() - 1));
  CHECK(trt::PlanFile::mismatch(directory() + "/cut.plan", key("A")) == "is cut short");
  bytes[bytes.size() / 2] ^= 1;
  toy::writeFile(directory() + "/bad.plan", bytes);
  CHECK(trt::PlanFile::mismatch(directory() + "/bad.plan", key("A")) == "is damaged");
  toy::writeFile(directory() + "/other.plan", "something else\n");
  CHECK(trt::PlanFile::mismatch(directory() + "/other.plan", key("A")) == "is not a plan of this version");
  CHECK_SAYS(check::thrownBy([] { key("A\nB"); }), "line break");
}
