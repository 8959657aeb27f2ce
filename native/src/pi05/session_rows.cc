#include <algorithm>

#include "pi05/session_slot.h"

/// Rows on their way between prefixes: joined from several for one act, and kept beyond their slots.
namespace turbopi::pi05 {

void Session::checkKeep(const PerceiveInput& input) const {
  if (input.keep.empty()) return;
  requireInput(shape().joins, "no rows can be kept here: these stages join none");
  requireInput(static_cast<int64_t>(input.keep.size()) == input.batch,
               "keep has " + std::to_string(input.keep.size()) + " elements, expected " + std::to_string(input.batch));
  std::vector<int32_t> places;
  for (const int32_t place : input.keep) {
    requireInput(place >= -1 && place < options_.kept,
                 "keep names place " + std::to_string(place) + " of " + std::to_string(options_.kept));
    if (place < 0) continue;
    requireInput(std::find(places.begin(), places.end(), place) == places.end(),
                 "keep names place " + std::to_string(place) + " twice");
    requireInput(!kept_[static_cast<size_t>(place)].filling,
                 "place " + std::to_string(place) + " is being filled already");
    places.push_back(place);
  }
}

bool Session::whole(const std::vector<RowPlace>& rows) const {
  requireInput(!rows.empty(), "an act has at least 1 row");
  const RowPlace first = rows.front();
  bool inOrder = true;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto [place, row] = rows[i];
    if (place == options_.slots && !kept_.empty()) {
      requireInput(row >= 0 && row < options_.kept && kept_[static_cast<size_t>(row)].length > 0,
                   "no row is kept at place " + std::to_string(row));
      inOrder = false;
      continue;
    }
    const int64_t held = slotAt(place).held.batch;
    requireInput(row >= 0 && row < held, "slot " + std::to_string(place) + " holds a prefix of " +
                                             std::to_string(held) + " rows, the act asks for row " +
                                             std::to_string(row));
    inOrder = inOrder && place == first.slot && row == static_cast<int>(i);
  }
  if (inOrder && slotAt(first.slot).held.batch == static_cast<int64_t>(rows.size())) return true;
  requireInput(shape().joins, "these stages join no rows: an act takes all rows of one slot in their order");
  for (const auto& [place, row] : rows) {
    const bool kept = place == options_.slots;
    const bool filling = kept ? kept_[static_cast<size_t>(row)].filling : slotAt(place).perceiving;
    requireInput(!filling, (kept ? "place " + std::to_string(row) : "slot " + std::to_string(place)) +
                               " is being filled: rows are joined once they are there");
  }
  return false;
}

std::vector<Session::Slot*> Session::slotsOf(const std::vector<RowPlace>& rows) {
  std::vector<Slot*> slots;
  for (const RowPlace& place : rows) {
    if (place.slot == options_.slots) continue;
    Slot* slot = &slotAt(place.slot);
    if (std::find(slots.begin(), slots.end(), slot) == slots.end()) slots.push_back(slot);
  }
  return slots;
}

RowAddress Session::addressOf(const KeyValues& all, int64_t row) const {
  return {all.keys.front() + bytes(row, shape().cacheBytes(1, all.prefixLength)), all.stride, all.prefixLength};
}

RowAddress Session::addressOfKept(int place, int64_t prefixLength) const {
  const size_t stride = cuda::aligned(shape().cacheBytes(1, shape().maxPrefix));
  return {keptRows_ + bytes(place * 2 * shape().layers, stride), stride, prefixLength};
}

static kernels::RowCopy copied(const RowAddress& from, const RowAddress& to, int64_t length,
                               cuda::DevicePtr lengthTo) {
  kernels::RowCopy copy = {};
  copy.from = reinterpret_cast<const void*>(from.first);
  copy.to = reinterpret_cast<void*>(to.first);
  copy.fromStride = static_cast<long long>(from.stride);
  copy.toStride = static_cast<long long>(to.stride);
  copy.lengthTo = reinterpret_cast<long long*>(lengthTo);
  copy.fromPlaces = static_cast<int>(from.places);
  copy.toPlaces = static_cast<int>(to.places);
  copy.length = static_cast<int>(length);
  return copy;
}

void Session::copyRows(const cuda::Stream& stream, const cuda::PinnedBuffer& staging, cuda::DevicePtr table,
                       const std::vector<kernels::RowCopy>& copies) const {
  const size_t size = copies.size() * sizeof(kernels::RowCopy);
  staging.fill(copies.data(), size);
  stream.upload(table, staging.as<char>(), size);
  kernels::RowCopies call = {};
  call.rows = reinterpret_cast<const kernels::RowCopy*>(table);
  call.heads = static_cast<int>(shape().kvHeads);
  call.placeBytes = static_cast<int>(bytes(shape().headDim, bytesOf(shape().element)));
  stages_->copyRows(stream, call, static_cast<int>(copies.size()));
}

void Session::keepRows(Slot& slot, const PerceiveInput& input) {
  KeyValues all = slot.held;
  all.prefixLength = input.prefixLength;
  std::vector<kernels::RowCopy> copies;
  for (size_t row = 0; row < input.keep.size(); ++row) {
    const int place = input.keep[row];
    if (place < 0) continue;
    // What was kept there is gone, also where a call below throws.
    kept_[static_cast<size_t>(place)] = {};
    copies.push_back(copied(addressOf(all, static_cast<int64_t>(row)), addressOfKept(place, input.prefixLength),
                            input.lengths[row], 0));
  }
  if (copies.empty()) return;
  copyRows(perceiveStream(), slot.copies, keepTable_, copies);
  for (size_t row = 0; row < input.keep.size(); ++row) {
    const int place = input.keep[row];
    if (place < 0) continue;
    kept_[static_cast<size_t>(place)] = {input.lengths[row], input.prefixLength, true};
    slot.keeping.push_back(place);
  }
}

void Session::joinRows(const Act& act, const std::vector<RowPlace>& rows) {
  KeyValues& joined = *joined_;
  struct Row {
    RowAddress from;
    int64_t length;
  };
  std::vector<Row> found;
  joined.batch = static_cast<int64_t>(rows.size());
  joined.prefixLength = 0;
  for (const auto& [place, row] : rows) {
    if (place == options_.slots) {
      const KeptRow& kept = kept_[static_cast<size_t>(row)];
      found.push_back({addressOfKept(row, kept.prefixLength), kept.length});
    } else {
      const Slot& slot = slotAt(place);
      found.push_back({addressOf(slot.held, row), slot.lengths.as<int64_t>()[row]});
    }
    joined.prefixLength = std::max(joined.prefixLength, found.back().from.places);
  }
  std::vector<kernels::RowCopy> copies;
  for (const Row& row : found) {
    const auto index = static_cast<int64_t>(copies.size());
    copies.push_back(copied(row.from, addressOf(joined, index), row.length,
                            joined.lengths + bytes(index, sizeof(int64_t))));
  }
  copyRows(actStream(), act.copies, joinTable_, copies);
}

}  // namespace turbopi::pi05
