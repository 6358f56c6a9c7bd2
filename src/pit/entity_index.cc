#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "base/parallel.h"
#include "pit/entity_index_internal.h"

namespace gnomon::pit {

namespace {

/// Rows that are scattered together, so that their cache misses overlap.
constexpr size_t kBatch = 64;

struct TimedRow {
  int64_t time;
  uint32_t row;
};

/// Puts one entity's rows, which are in input order, into the order of the index.
void SortEntity(std::span<const int64_t> created, std::span<int64_t> times,
                std::span<uint32_t> rows, std::vector<TimedRow>* scratch) {
  const auto before = [&](const TimedRow& a, const TimedRow& b) {
    if (a.time != b.time) return a.time < b.time;
    if (!created.empty() && created[a.row] != created[b.row])
      return created[a.row] < created[b.row];
    return a.row < b.row;
  };
  bool sorted = true;
  for (size_t i = 1; i < times.size() && sorted; ++i) {
    sorted = before({times[i - 1], rows[i - 1]}, {times[i], rows[i]});
  }
  if (sorted) return;
  scratch->clear();
  for (size_t i = 0; i < times.size(); ++i) scratch->push_back({times[i], rows[i]});
  std::ranges::sort(*scratch, before);
  for (size_t i = 0; i < times.size(); ++i) {
    times[i] = (*scratch)[i].time;
    rows[i] = (*scratch)[i].row;
  }
}

}  // namespace

Result<EntityIndex> BuildEntityIndex(const Context& context, std::span<const int32_t> ids,
                                     std::span<const int64_t> times,
                                     std::span<const int64_t> created, const EntityIndex* only,
                                     MemoryReservation* memory) {
  GNOMON_CHECK(ids.size() == times.size(), ids.size(), " ids, ", times.size(), " times");
  GNOMON_CHECK(created.empty() || created.size() == ids.size(), ids.size(), " ids, ",
               created.size(), " created");
  if (ids.size() >= std::numeric_limits<uint32_t>::max()) {
    return Error(ErrorKind::kUnsupported,
                 "too many rows in one part of a point-in-time computation: ", ids.size());
  }
  int64_t num_entities = 0;
  if (only != nullptr) {
    num_entities = only->num_entities();
  } else if (!ids.empty()) {
    num_entities = std::max<int64_t>(0, int64_t{std::ranges::max(ids)} + 1);
  }
  const auto is_in = [&](int32_t id) { return only != nullptr ? only->Has(id) : id >= 0; };

  GNOMON_RETURN_NOT_OK(memory->Grow((num_entities + 1) * int64_t{sizeof(uint32_t)}));
  EntityIndex index;
  index.offsets.assign(static_cast<size_t>(num_entities) + 1, 0);
  for (const int32_t id : ids) {
    if (is_in(id)) ++index.offsets[static_cast<size_t>(id)];
  }
  uint32_t num_rows = 0;
  for (uint32_t& offset : index.offsets) num_rows += std::exchange(offset, num_rows);

  GNOMON_RETURN_NOT_OK(
      memory->Grow(int64_t{num_rows} * int64_t{sizeof(uint32_t) + sizeof(int64_t)}));
  index.order.resize(num_rows);
  index.times.resize(num_rows);
  std::array<TimedRow, kBatch> batch;
  std::array<uint32_t, kBatch> place;
  for (size_t base = 0; base < ids.size(); base += kBatch) {
    const size_t end = std::min(ids.size(), base + kBatch);
    for (size_t row = end; row < std::min(ids.size(), end + kBatch); ++row) {
      if (static_cast<uint32_t>(ids[row]) < static_cast<uint64_t>(num_entities)) {
        __builtin_prefetch(index.offsets.data() + ids[row], 1);
      }
    }
    size_t count = 0;
    for (size_t row = base; row < end; ++row) {
      if (!is_in(ids[row])) continue;
      batch[count] = {times[row], static_cast<uint32_t>(row)};
      place[count] = index.offsets[static_cast<size_t>(ids[row])]++;
      __builtin_prefetch(index.order.data() + place[count], 1);
      __builtin_prefetch(index.times.data() + place[count], 1);
      ++count;
    }
    for (size_t i = 0; i < count; ++i) {
      index.order[place[i]] = batch[i].row;
      index.times[place[i]] = batch[i].time;
    }
  }
  // The scatter moved every offset to the next entity's.
  for (size_t entity = index.offsets.size() - 1; entity > 0; --entity) {
    index.offsets[entity] = index.offsets[entity - 1];
  }
  index.offsets[0] = 0;

  const auto sort_entities = [&](int64_t begin, int64_t end) {
    std::vector<TimedRow> scratch;
    for (auto entity = static_cast<size_t>(begin); entity < static_cast<size_t>(end); ++entity) {
      const uint32_t first = index.offsets[entity];
      const uint32_t count = index.offsets[entity + 1] - first;
      SortEntity(created, std::span(index.times).subspan(first, count),
                 std::span(index.order).subspan(first, count), &scratch);
    }
    return Status::OK();
  };
  // About 16,000 rows a range.
  const int64_t grain = std::max<int64_t>(1, 16384 * num_entities / std::max<int64_t>(1, num_rows));
  GNOMON_RETURN_NOT_OK(ParallelRanges(context, num_entities, grain, sort_entities));
  return index;
}

}  // namespace gnomon::pit
