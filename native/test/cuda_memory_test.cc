#include "pi05/cuda_memory.h"

#include "check.h"
#include "pi05/cuda_expert.h"

using namespace turbopi;

/// Pi0.5 at its full size, with two cameras and prompts of up to 64 tokens.
static pi05::CudaRequest fullSize() {
  pi05::CudaRequest request;
  pi05::CudaModel& m = request.model;
  m.vision = {1152, 27, 4304, 16, 16, 72};
  m.prefix = {2048, 18, 16384, 8, 1, 256};
  m.expert = {1024, 18, 4096, 8, 1, 256};
  m.imageSize = 224;
  m.patch = 14;
  m.vocabulary = 257152;
  m.horizon = 10;
  m.actionDim = 32;
  m.maxBatch = 1;
  m.maxImages = 2;
  m.maxPrefix = 576;
  m.tokenBuckets = {32, 64};
  // Where the files lie is of no concern: a matrix of 1,000 elements in bf16, a norm of 100 in float32.
  request.weights = {{"prefix.0.qkv", {{"absent", 0, 1000, pi05::WeightPiece::Type::kFloat32}}},
                     {"expert.norm", {{"absent", 0, 100, pi05::WeightPiece::Type::kBFloat16}}}};
  return request;
}

static cuda::DeviceInfo card(int major) {
  cuda::DeviceInfo info;
  info.major = major;
  info.multiprocessors = 132;
  return info;
}

TEST("what a session takes is told by what for, without a card and without the files") {
  const pi05::CudaMemory memory = pi05::cudaMemory(fullSize(), {1, 1}, card(8));
  // 1,000 × 2 and 100 × 4 bytes, and the rotations of 586 places: 128 pairs of 8 bytes each, in blocks of 256 bytes.
  CHECK(memory.weights == 2048 + 512 + 586 * 128 * 8);
  // 18 layers of keys and of values: 576 places of 256 numbers in bf16; and one length. Those of the slot, and those of the
  // rows that an act joins.
  CHECK(memory.slots == 2 * (256 + 2 * 18 * 576 * 256 * 2));
  CHECK(memory.inputs > 2 * 224 * 224 * 3 + 2 * 256 * 2048 * 2);
  // The widest layer of the prefix: 576 rows of gate and up, in bf16.
  CHECK(memory.workspaces > 576 * (2 * 16384 + 16384) * 2);
}

TEST("slots and inputs grow with rows, a second lane has a workspace of its own") {
  pi05::CudaRequest request = fullSize();
  const pi05::CudaMemory one = pi05::cudaMemory(request, {1, 1}, card(8));
  const pi05::CudaMemory two = pi05::cudaMemory(request, {2, 2}, card(8));
  CHECK(2 * two.slots == 3 * one.slots && two.inputs == one.inputs && two.weights == one.weights);
  CHECK(two.workspaces > one.workspaces);
  request.model.maxBatch = 8;
  request.model.maxImages = 16;
  const pi05::CudaMemory eight = pi05::cudaMemory(request, {1, 1}, card(8));
  CHECK(eight.slots > 7 * one.slots && eight.workspaces > 7 * one.workspaces && eight.weights == one.weights);
}

TEST("each row that can be kept takes the keys and values of one row, in the sum of slots") {
  pi05::SessionOptions options{2, 2};
  const pi05::CudaMemory none = pi05::cudaMemory(fullSize(), options, card(9));
  options.kept = 5;
  const pi05::CudaMemory five = pi05::cudaMemory(fullSize(), options, card(9));
  CHECK(five.slots - none.slots == size_t{5} * 2 * 18 * 576 * 256 * 2);
  CHECK(five.inputs == none.inputs && five.workspaces == none.workspaces && five.weights == none.weights);
}

TEST("on Hopper the expert's weights are there a second time, in the order of its kernel") {
  const pi05::CudaRequest request = fullSize();
  const pi05::CudaMemory reference = pi05::cudaMemory(request, {1, 1}, card(8));
  const pi05::CudaMemory tuned = pi05::cudaMemory(request, {1, 1}, card(9));
  const size_t expert = size_t{18} * (2560 + 2048 + 3 * 4096) * 1024 * 2;
  CHECK(tuned.weights - reference.weights > expert);
  CHECK(tuned.weights - reference.weights < expert + (size_t{64} << 20));
  pi05::CudaRequest plain = request;
  plain.tuned = false;
  CHECK(pi05::cudaMemory(plain, {1, 1}, card(9)).weights == reference.weights);
}

TEST("with 8-bit floats the second copy has the MLPs as bytes, and the prefix room for its hidden rows as bytes") {
  pi05::CudaRequest request = fullSize();
  const pi05::CudaMemory wide = pi05::cudaMemory(request, {1, 1}, card(9));
  request.model.vision.float8 = request.model.prefix.float8 = request.model.expert.float8 = true;
  const pi05::CudaMemory narrow = pi05::cudaMemory(request, {1, 1}, card(9));
  const size_t saved = size_t{18} * 3 * 4096 * 1024;
  // What is left of the difference are the scales of the rows.
  CHECK(wide.weights - narrow.weights < saved && wide.weights - narrow.weights > saved - (size_t{1} << 20));
  CHECK(narrow.workspaces - wide.workspaces >= size_t{576} * 16384 && narrow.slots == wide.slots);
}
