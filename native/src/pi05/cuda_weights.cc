#include "pi05/cuda_weights.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "base/mapped_file.h"

namespace turbopi::pi05 {
namespace {

constexpr size_t kStagingBytes = size_t{16} << 20;

size_t bytesOf(WeightPiece::Type type) { return type == WeightPiece::Type::kFloat32 ? 4 : 2; }

const char* nameOf(WeightPiece::Type type) {
  switch (type) {
    case WeightPiece::Type::kFloat32:
      return "f32";
    case WeightPiece::Type::kFloat16:
      return "f16";
    case WeightPiece::Type::kBFloat16:
      return "bf16";
  }
  return "";
}

uint64_t elementsOf(const WeightSource& source) {
  uint64_t sum = source.elements;
  for (const WeightPiece& piece : source.pieces) sum += piece.elements;
  return sum;
}

bool endsWith(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/// A stretch of a file and where its elements go.
struct Part {
  const uint8_t* from;
  uint64_t elements;
  WeightPiece::Type type;
  cuda::DevicePtr to;
  bool wide;
};

/// Copies parts through page-locked memory, two buffers in turn: the file is read while the last part travels.
class Reader {
 public:
  explicit Reader(const cuda::Kernels& kernels)
      : kernels_(kernels),
        stream_(kernels.driver(), cuda::Stream::Priority::kNormal),
        raw_(kernels.driver(), 2 * kStagingBytes),
        staging_(kernels.driver(), 2 * kStagingBytes),
        free_{{kernels.driver(), false}, {kernels.driver(), false}} {}

  void copy(const Part& part) {
    const size_t half = next_ * kStagingBytes;
    const size_t bytes = part.elements * bytesOf(part.type);
    while (!free_[next_].done()) std::this_thread::yield();
    std::memcpy(staging_.as<uint8_t>() + half, part.from, bytes);
    const bool same = part.wide == (part.type == WeightPiece::Type::kFloat32) && part.type != WeightPiece::Type::kFloat16;
    stream_.upload(same ? part.to : raw_.address() + half, staging_.as<uint8_t>() + half, bytes);
    if (!same) {
      cuda::LaunchShape shape;
      shape.gridX = 264;
      const std::string name = std::string("convert_") + nameOf(part.type) + (part.wide ? "_f32" : "_bf16");
      kernels_.launch(stream_, name.c_str(), shape, raw_.address() + half, part.to,
                      static_cast<long long>(part.elements));
    }
    stream_.record(free_[next_]);
    next_ = 1 - next_;
  }
  void finish() const { stream_.synchronize(); }

 private:
  const cuda::Kernels& kernels_;
  cuda::Stream stream_;
  cuda::DeviceBuffer raw_;
  cuda::PinnedBuffer staging_;
  cuda::Event free_[2];
  size_t next_ = 0;
};

}  // namespace

bool CudaWeights::isWide(const std::string& name) {
  for (const char* layer : {"action_in.", "action_out.", "time_in.", "time_out.", "state.", "action_time_in.",
                            "action_time_out."})
    if (name.rfind(layer, 0) == 0) return true;
  if (endsWith(name, ".bias") || endsWith(name, "positions")) return true;
  return name.find("norm") != std::string::npos;
}

size_t CudaWeights::bytes(ElementType element, const std::vector<WeightSource>& sources) {
  size_t total = 0;
  for (const WeightSource& source : sources)
    total += cuda::aligned(elementsOf(source) * (element == ElementType::kFloat32 || isWide(source.name) ? 4 : 2));
  return total;
}

CudaWeights::CudaWeights(const std::shared_ptr<const cuda::Kernels>& kernels, ElementType element,
                         const std::vector<WeightSource>& sources, unsigned mostReaders)
    : kernels_(kernels), element_(element) {
  const auto wide = [&](const WeightSource& source) {
    return element == ElementType::kFloat32 || isWide(source.name);
  };
  arena_ = std::make_unique<cuda::DeviceArena>(kernels->driver(), bytes(element, sources));

  std::map<std::string, std::unique_ptr<MappedFile>> files;
  std::vector<Part> parts;
  const cuda::Stream stream(kernels->driver(), cuda::Stream::Priority::kNormal);
  for (const WeightSource& source : sources) {
    const size_t elementBytes = wide(source) ? 4 : 2;
    const uint64_t elements = elementsOf(source);
    const Tensor tensor{arena_->take(elements * elementBytes), elements};
    tensors_[source.name] = tensor;
    uint64_t done = 0;
    for (const WeightPiece& piece : source.pieces) {
      std::unique_ptr<MappedFile>& file = files[piece.file];
      if (!file) file = std::make_unique<MappedFile>(piece.file);
      require(piece.offset + piece.elements * bytesOf(piece.type) <= file->size(),
              piece.file + " is shorter than its header says: " + source.name + " lies beyond its end",
              "copy the checkpoint again");
      const uint64_t most = kStagingBytes / bytesOf(piece.type);
      for (uint64_t from = 0; from < piece.elements; from += most) {
        const uint64_t count = std::min(most, piece.elements - from);
        parts.push_back({file->data() + piece.offset + from * bytesOf(piece.type), count, piece.type,
                         tensor.address + (done + from) * elementBytes, wide(source)});
      }
      done += piece.elements;
    }
    if (source.elements > 0) {
      cuda::LaunchShape shape;
      shape.gridX = 1056;
      if (elementBytes == 2) {
        kernels->launch(stream, "fill_random_bf16", shape, tensor.address, static_cast<long long>(elements),
                        source.seed, source.limit);
      } else {
        const cuda::DeviceBuffer narrow(kernels->driver(), elements * 2);
        kernels->launch(stream, "fill_random_bf16", shape, narrow.address(), static_cast<long long>(elements),
                        source.seed, source.limit);
        kernels->launch(stream, "convert_bf16_f32", shape, narrow.address(), tensor.address,
                        static_cast<long long>(elements));
        stream.synchronize();
      }
    }
  }
  stream.synchronize();
  if (parts.empty()) return;

  cuda::RawContext context = nullptr;
  kernels->driver()->check(kernels->driver()->get<cuda::Result(cuda::RawContext*)>("cuCtxGetCurrent")(&context),
                           "cuCtxGetCurrent");
  std::atomic<size_t> next{0};
  std::exception_ptr failed;
  std::mutex failure;
  const auto work = [&] {
    try {
      kernels->driver()->check(kernels->driver()->ctxSetCurrent(context), "cuCtxSetCurrent");
      Reader reader(*kernels);
      for (size_t i = next++; i < parts.size(); i = next++) reader.copy(parts[i]);
      reader.finish();
    } catch (...) {
      const std::lock_guard<std::mutex> lock(failure);
      failed = std::current_exception();
      next = parts.size();
    }
  };
  const size_t readers = std::min<size_t>({std::max(1u, mostReaders), std::max(1u, std::thread::hardware_concurrency()),
                                           (parts.size() + 7) / 8});
  std::vector<std::thread> threads;
  for (size_t i = 1; i < readers; ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  if (failed) std::rethrow_exception(failed);
}

cuda::DevicePtr CudaWeights::at(const std::string& name, int64_t elements) const {
  const auto found = tensors_.find(name);
  require(found != tensors_.end(), "the weights have no " + name, "this is a fault of Turbo-Pi: please report it");
  require(found->second.elements == static_cast<uint64_t>(elements),
          name + " has " + std::to_string(found->second.elements) + " elements, expected " + std::to_string(elements),
          "the checkpoint is not of the sizes in its config.json");
  return found->second.address;
}

}  // namespace turbopi::pi05
