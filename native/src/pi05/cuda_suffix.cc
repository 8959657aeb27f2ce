#include "pi05/cuda_suffix.h"

#include <string>

namespace turbopi::pi05 {

using cuda::DevicePtr;
using kernels::Epilogue;

size_t suffixTokensBytes(const CudaModel& model, int64_t batch) {
  return 2 * cuda::aligned(static_cast<size_t>(batch * model.horizon * model.expert.width) * sizeof(float));
}

void suffixTokens(const CudaShared& s, const cuda::Stream& stream, const DenoiseCall& call, int step, DevicePtr tokens,
                  DevicePtr scratch) {
  const CudaModel& m = s.model;
  const int width = m.expert.width;
  const int64_t rows = call.batch * m.horizon;
  kernels::Linear in =
      product(call.x[step % 2], s.weight("action_in.weight", int64_t{width} * m.actionDim), tokens, rows, width,
              m.actionDim, Epilogue::kStoreFloat, s.weight("action_in.bias", width));
  if (m.pi05) return s.operations.linearThin(stream, in);
  // pi0: the state's token, then one an action row with the time mixed in.
  const DevicePtr second = scratch + suffixTokensBytes(m, call.batch) / 2;
  in.out = pointer(scratch);
  s.operations.linearThin(stream, in);
  kernels::Linear mix = product(scratch, s.weight("action_time_in.weight", int64_t{2} * width * width), second, rows,
                                width, width, Epilogue::kSwish,
                                call.modulation + static_cast<size_t>(step) * call.modulationStride);
  mix.wStride = 2 * width;
  s.operations.linearThin(stream, mix);
  kernels::Linear out = product(second, s.weight("action_time_out.weight", int64_t{width} * width), tokens, rows, width,
                                width, Epilogue::kStoreFloat, s.weight("action_time_out.bias", width));
  out.group = m.horizon;
  out.groupStride = m.suffix();
  out.groupOffset = 1;
  s.operations.linearThin(stream, out);
  kernels::Linear state = product(call.state, s.weight("state.weight", int64_t{width} * m.actionDim), tokens, call.batch,
                                  width, m.actionDim, Epilogue::kStoreFloat, s.weight("state.bias", width));
  state.group = 1;
  state.groupStride = m.suffix();
  s.operations.linearThin(stream, state);
}

void updateActions(const CudaShared& s, const cuda::Stream& stream, const DenoiseCall& call, int step,
                   DevicePtr velocities) {
  const CudaModel& m = s.model;
  kernels::Update p = {};
  p.x = pointer<float>(call.x[step % 2]);
  p.v = pointer<float>(velocities);
  p.target = pointer<float>(call.target);
  p.factors = pointer<float>(call.updates + static_cast<size_t>(step) * call.updateStride);
  p.next = pointer<float>(call.x[1 - step % 2]);
  p.velocity = pointer<float>(call.velocity);
  p.batch = static_cast<int>(call.batch);
  p.horizon = m.horizon;
  p.actionDim = m.actionDim;
  p.suffix = m.suffix();
  p.offset = m.suffix() - m.horizon;
  s.operations.update(stream, p);
}

NormConstants expertNorm(const CudaShared& s, const DenoiseCall& call, int step, int norm) {
  const CudaModel& m = s.model;
  NormConstants out;
  if (m.pi05) {
    const size_t width = sizeof(float) * static_cast<size_t>(m.expert.width);
    out.scale = call.modulation + static_cast<size_t>(step) * call.modulationStride + 3 * static_cast<size_t>(norm) * width;
    out.shift = out.scale + width;
    out.gate = out.shift + width;
    if (m.given) {
      const DevicePtr own = call.modulation + static_cast<size_t>(step) * call.modulationStride;
      out.given = {pointer<float>(call.updates + static_cast<size_t>(step) * call.updateStride),
                   static_cast<long long>(call.givenModulation - own) / static_cast<long long>(sizeof(float))};
    }
    return out;
  }
  const std::string name = norm == 2 * m.expert.depth ? "expert.norm"
                                                      : layerName("expert", norm / 2, norm % 2 == 0 ? "norm1" : "norm2");
  out.scale = s.weight(name, m.expert.width);
  out.scaleOffset = 1;
  return out;
}

}  // namespace turbopi::pi05
