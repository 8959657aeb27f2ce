#include <cstring>

#include "check/stand_in.h"
#include "cuda/graph.h"

namespace turbopi::check {
namespace {

constexpr size_t kMegabyte = size_t{1} << 20;

std::string rate(double bytes, double milliseconds) {
  char text[64];
  std::snprintf(text, sizeof text, "%.1f GB/s", bytes / milliseconds * 1e-6);
  return text;
}

std::string pinnedCopies(const cuda::DriverPtr& driver, size_t bytes) {
  const cuda::PinnedBuffer out(driver, bytes);
  const cuda::PinnedBuffer back(driver, bytes);
  const cuda::DeviceBuffer device(driver, bytes);
  const cuda::Event start(driver, true);
  const cuda::Event middle(driver, true);
  const cuda::Event end(driver, true);
  const cuda::Stream stream(driver, cuda::Stream::Priority::kNormal);
  for (size_t i = 0; i < bytes; ++i) out.as<uint8_t>()[i] = static_cast<uint8_t>(i * 31 + i / 257);
  std::memset(back.as<char>(), 0, bytes);
  stream.record(start);
  stream.upload(device.address(), out.as<char>(), bytes);
  stream.record(middle);
  stream.download(back.as<char>(), device.address(), bytes);
  stream.record(end);
  stream.synchronize();
  require(std::memcmp(out.as<char>(), back.as<char>(), bytes) == 0, "the bytes that came back differ");
  return std::to_string(bytes / kMegabyte) + " MiB there " +
         rate(static_cast<double>(bytes), static_cast<double>(middle.since(start))) + ", back " +
         rate(static_cast<double>(bytes), static_cast<double>(end.since(middle)));
}

/// One stream keeps waiting, the other must not see its data before the event.
std::string eventOrder(const Kernels& kernels, uint64_t waitNs, int rounds) {
  const cuda::DriverPtr& driver = kernels.driver();
  const cuda::DeviceBuffer shared(driver, sizeof(uint64_t) * 64);
  const cuda::PinnedBuffer seen(driver, sizeof(uint64_t) * 64);
  const cuda::Event written(driver, false);
  const cuda::Event read(driver, false);
  const cuda::Stream writer(driver, cuda::Stream::Priority::kNormal);
  const cuda::Stream reader(driver, cuda::Stream::Priority::kHigh);
  for (int round = 0; round < rounds; ++round) {
    writer.wait(read);
    kernels.launch(writer, "load_wait", 1, waitNs);
    driver->check(driver->memsetD8Async(shared.address(), static_cast<unsigned char>(round % 200 + 1), 8, writer.raw()),
                  "cuMemsetD8Async");
    writer.record(written);
    reader.wait(written);
    reader.download(seen.as<char>(), shared.address(), 8);
    reader.record(read);
    reader.synchronize();
    require(seen.as<uint8_t>()[0] == round % 200 + 1 && seen.as<uint8_t>()[7] == round % 200 + 1,
            "round " + std::to_string(round) + " read what was there before");
  }
  return std::to_string(rounds) + " rounds, each read after its write";
}

std::string graphReplay(const Kernels& kernels, int replays) {
  const cuda::DriverPtr& driver = kernels.driver();
  const cuda::DeviceBuffer ring(driver, sizeof(uint64_t) * 4096);
  const cuda::DeviceBuffer counter(driver, sizeof(unsigned));
  const cuda::PinnedBuffer seen(driver, sizeof(unsigned));
  const cuda::Stream stream(driver, cuda::Stream::Priority::kNormal);
  const auto stamp = [&] { kernels.launch(stream, "stamp", 1, ring.address(), counter.address(), 4096u, 0u); };
  stamp();
  stream.clear(counter.address(), sizeof(unsigned));
  const cuda::GraphExec graph = cuda::GraphExec::capture(stream, [&] {
    for (int i = 0; i < 3; ++i) stamp();
  });
  for (int i = 0; i < replays; ++i) graph.launch(stream);
  stream.download(seen.as<char>(), counter.address(), sizeof(unsigned));
  stream.synchronize();
  require(*seen.as<unsigned>() == static_cast<unsigned>(3 * replays),
          "the graph's kernels ran " + std::to_string(*seen.as<unsigned>()) + " times");
  return std::to_string(replays) + " replays of 3 kernels; the capture itself ran none";
}

std::string failedCapture(const Kernels& kernels) {
  const cuda::DriverPtr& driver = kernels.driver();
  const cuda::Stream stream(driver, cuda::Stream::Priority::kNormal);
  std::string reason;
  try {
    cuda::GraphExec::capture(stream, [&] { stream.synchronize(); });
  } catch (const Error& error) {
    reason = error.what();
  }
  require(!reason.empty(), "a synchronize inside a capture was accepted");
  kernels.launch(stream, "load_wait", 1, uint64_t{1000});
  stream.synchronize();
  return "refused (" + reason + "), the stream works on";
}

std::string arena(const cuda::DriverPtr& driver) {
  cuda::DeviceArena arena(driver, 4096);
  const cuda::DevicePtr a = arena.take(1);
  const cuda::DevicePtr b = arena.take(300);
  const cuda::DevicePtr c = arena.take(0);
  require(a % cuda::kAlignment == 0 && b == a + 256 && c == b + 512, "the pieces are not where they should be");
  std::string reason;
  try {
    arena.take(4096);
  } catch (const Error& error) {
    reason = error.what();
  }
  require(!reason.empty(), "an arena gave more than it has");
  return "aligned pieces; " + reason;
}

}  // namespace

void checkPrimitives(Report& report, const cuda::DriverPtr& driver, const Options& options) {
  const Kernels kernels(driver, options.kernels);
  report.check("pinned copies", [&] { return pinnedCopies(driver, (options.quick ? 1 : 256) * kMegabyte); });
  report.check("events order two streams", [&] { return eventOrder(kernels, 50000, options.quick ? 20 : 2000); });
  report.check("graph capture and replay", [&] { return graphReplay(kernels, options.quick ? 10 : 1000); });
  // Its errors are on purpose; compute-sanitizer would count them.
  if (!options.quick) report.check("a capture that can not be", [&] { return failedCapture(kernels); });
  report.check("arena", [&] { return arena(driver); });
}

}  // namespace turbopi::check
