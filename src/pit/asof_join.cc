#include "pit/asof_join.h"

#include <algorithm>
#include <array>
#include <limits>
#include <tuple>
#include <utility>

#include "base/parallel.h"
#include "pit/entity_index_internal.h"

namespace gnomon::pit {

namespace {

constexpr int64_t kMinTime = std::numeric_limits<int64_t>::min();

/// The newest row so far among those whose first label is this one. Its created time stands in a
/// vector of its own, which exists only when the source has one and is read only on ties in time.
struct Slot {
  int64_t time = kMinTime;
  int64_t row = kNoRow;
};

/// The labels, constant after construction and shared by partial joins.
struct Labels {
  explicit Labels(MemoryBudget* budget) : memory(budget) {}

  MemoryReservation memory;
  AsOfOptions options;
  EntityIndex index;
  std::vector<int64_t> oldest;  ///< in the order of the index; empty: no TTL
  int64_t num_labels = 0;
};

struct Rows {
  std::span<const int32_t> ids;
  std::span<const int64_t> times;
  std::span<const int64_t> created;
  std::span<const int64_t> numbers;  ///< empty: first, first + 1, ...
  int64_t first = 0;

  int64_t NumberOf(size_t i) const {
    return numbers.empty() ? first + static_cast<int64_t>(i) : numbers[i];
  }
};

/// Rows that are worked on together, so that their cache misses overlap.
constexpr size_t kBatch = 64;

/// Slots that are not worth a task of their own.
constexpr int64_t kSlotsOfTask = 64 * 1024;

/// A row on its way through the batch.
struct Pending {
  int64_t from;    ///< looks for the first label at or after this time
  uint32_t first;  ///< where that label stands at least
  uint32_t size;   ///< how many labels from `first` on are in question
  uint32_t end;    ///< where the entity's labels end
  uint32_t row;    ///< in the batch
};

/// Narrows all searches to one label each, one level at a time: the loads of a level do not wait
/// for each other, and nothing branches on data.
void NarrowTogether(const int64_t* times, uint32_t max_size, std::span<Pending> batch) {
  for (uint32_t size = max_size; size > 1; size -= size / 2) {
    for (Pending& pending : batch) {
      const uint32_t half = pending.size / 2;
      const uint32_t probe = pending.first + half - (half != 0 ? 1 : 0);
      pending.first += times[probe] < pending.from ? half : 0;
      pending.size -= half;
    }
  }
}

}  // namespace

struct AsOfJoin::Impl {
  explicit Impl(std::shared_ptr<const Labels> shared)
      : labels(std::move(shared)), memory(labels->memory.budget()) {}

  Status Allocate();
  Status AllocateCreated();
  template <bool kCreated>
  void Offer(uint32_t place, int64_t time, int64_t created_time, int64_t row);
  template <bool kCreated, bool kFilter>
  void Add(const Rows& rows);
  Status Add(const Rows& rows);
  template <bool kCreated>
  void MergeEntity(const EntityIndex& sorted, size_t entity, const Rows& rows);
  void FinishEntity(size_t entity, std::span<int64_t> winners) const;

  const std::shared_ptr<const Labels> labels;
  MemoryReservation memory;
  std::vector<Slot> slots;       ///< empty until rows come
  std::vector<int64_t> created;  ///< empty until rows with created times come
};

Status AsOfJoin::Impl::Allocate() {
  const size_t count = labels->index.order.size();
  if (slots.size() == count) return Status::OK();
  GNOMON_RETURN_NOT_OK(memory.Grow(static_cast<int64_t>(count * sizeof(Slot))));
  slots.resize(count);
  return Status::OK();
}

Status AsOfJoin::Impl::AllocateCreated() {
  if (!created.empty()) return Status::OK();
  GNOMON_RETURN_NOT_OK(memory.Grow(static_cast<int64_t>(slots.size() * sizeof(int64_t))));
  created.assign(slots.size(), kMinTime);
  return Status::OK();
}

/// Keeps the greater of (time, created, row). Rows come mostly in order, so that a later row wins a
/// full tie.
template <bool kCreated>
void AsOfJoin::Impl::Offer(uint32_t place, int64_t time, int64_t created_time, int64_t row) {
  Slot& slot = slots[place];
  if (time < slot.time) return;
  if (time == slot.time) {
    if constexpr (kCreated) {
      if (std::tuple(created_time, row) <= std::tuple(created[place], slot.row)) return;
    } else {
      if (row <= slot.row) return;
    }
  }
  slot = {time, row};
  if constexpr (kCreated) created[place] = created_time;
}

template <bool kCreated, bool kFilter>
void AsOfJoin::Impl::Add(const Rows& rows) {
  const uint32_t* offsets = labels->index.offsets.data();
  const int64_t* times = labels->index.times.data();
  const auto num_entities = static_cast<uint64_t>(labels->index.num_entities());
  std::array<Pending, kBatch> batch;

  for (size_t base = 0; base < rows.ids.size(); base += kBatch) {
    const size_t count = std::min(kBatch, rows.ids.size() - base);
    const size_t ahead = std::min(rows.ids.size(), base + 2 * kBatch);
    for (size_t i = base + kBatch; i < ahead; ++i) {
      const auto id = static_cast<uint32_t>(rows.ids[i]);
      if (id < num_entities) __builtin_prefetch(offsets + id);
    }
    size_t num_pending = 0;
    uint32_t max_size = 0;
    for (size_t i = 0; i < count; ++i) {
      const auto id = static_cast<uint32_t>(rows.ids[base + i]);
      if (id >= num_entities) continue;
      int64_t from = rows.times[base + i];
      if constexpr (kFilter) from = std::max(from, rows.created[base + i]);
      const uint32_t first = offsets[id];
      const uint32_t end = offsets[id + 1];
      const uint32_t size = end - first;
      batch[num_pending] = {
          .from = from, .first = first, .size = size, .end = end, .row = static_cast<uint32_t>(i)};
      num_pending += size != 0 ? 1 : 0;
      max_size = std::max(max_size, size);
      __builtin_prefetch(times + first + size / 2);
    }
    NarrowTogether(times, max_size, std::span(batch).first(num_pending));
    size_t num_found = 0;
    for (size_t i = 0; i < num_pending; ++i) {
      Pending pending = batch[i];
      pending.first += times[pending.first] < pending.from ? 1 : 0;
      batch[num_found] = pending;
      num_found += pending.first < pending.end ? 1 : 0;
      __builtin_prefetch(slots.data() + pending.first, 1);
    }
    for (size_t j = 0; j < num_found; ++j) {
      const size_t i = base + batch[j].row;
      int64_t created_time = kMinTime;
      if constexpr (kCreated) created_time = rows.created[i];
      Offer<kCreated>(batch[j].first, rows.times[i], created_time, rows.NumberOf(i));
    }
  }
}

Status AsOfJoin::Impl::Add(const Rows& rows) {
  GNOMON_CHECK(rows.ids.size() == rows.times.size(), rows.ids.size(), " ids, ", rows.times.size(),
               " times");
  GNOMON_CHECK(rows.created.empty() || rows.created.size() == rows.ids.size(), rows.ids.size(),
               " ids, ", rows.created.size(), " created");
  if (rows.ids.empty() || labels->index.order.empty()) return Status::OK();
  GNOMON_RETURN_NOT_OK(Allocate());
  if (rows.created.empty()) {
    // Without created times a row counts as created before any other of its time.
    if (created.empty()) {
      Add<false, false>(rows);
    } else {
      const std::vector<int64_t> unknown(rows.ids.size(), kMinTime);
      Rows with_created = rows;
      with_created.created = unknown;
      Add<true, false>(with_created);
    }
    return Status::OK();
  }
  GNOMON_RETURN_NOT_OK(AllocateCreated());
  labels->options.filter_by_created ? Add<true, true>(rows) : Add<true, false>(rows);
  return Status::OK();
}

template <bool kCreated>
void AsOfJoin::Impl::MergeEntity(const EntityIndex& sorted, size_t entity, const Rows& rows) {
  const EntityIndex& index = labels->index;
  uint32_t place = index.offsets[entity];
  const uint32_t end = index.offsets[entity + 1];
  for (uint32_t i = sorted.offsets[entity]; i < sorted.offsets[entity + 1]; ++i) {
    while (place < end && index.times[place] < sorted.times[i]) ++place;
    if (place == end) return;
    const size_t row = sorted.order[i];
    int64_t created_time = kMinTime;
    if constexpr (kCreated) {
      if (!rows.created.empty()) created_time = rows.created[row];
    }
    Offer<kCreated>(place, rows.times[row], created_time, rows.numbers[row]);
  }
}

AsOfJoin::AsOfJoin() = default;
AsOfJoin::AsOfJoin(AsOfJoin&&) noexcept = default;
AsOfJoin& AsOfJoin::operator=(AsOfJoin&&) noexcept = default;
AsOfJoin::~AsOfJoin() = default;

Result<AsOfJoin> AsOfJoin::Make(const Context& context, std::span<const int32_t> ids,
                                std::span<const int64_t> times, std::span<const int64_t> oldest,
                                const AsOfOptions& options) {
  GNOMON_CHECK(oldest.empty() || oldest.size() == ids.size(), ids.size(), " ids, ", oldest.size(),
               " oldest");
  auto labels = std::make_shared<Labels>(context.memory);
  labels->options = options;
  labels->num_labels = static_cast<int64_t>(ids.size());
  GNOMON_ASSIGN_OR_RETURN(labels->index,
                          BuildEntityIndex(context, ids, times, {}, nullptr, &labels->memory));
  if (std::ranges::any_of(oldest, [](int64_t time) { return time != kMinTime; })) {
    const std::vector<uint32_t>& order = labels->index.order;
    GNOMON_RETURN_NOT_OK(labels->memory.Grow(static_cast<int64_t>(order.size() * sizeof(int64_t))));
    labels->oldest.resize(order.size());
    std::ranges::transform(order, labels->oldest.begin(),
                           [&](uint32_t label) { return oldest[label]; });
  }
  AsOfJoin join;
  join.impl_ = std::make_unique<Impl>(std::move(labels));
  return join;
}

Result<AsOfJoin> AsOfJoin::MakePartial() const {
  AsOfJoin join;
  join.impl_ = std::make_unique<Impl>(impl_->labels);
  return join;
}

Status AsOfJoin::AddRows(std::span<const int32_t> ids, std::span<const int64_t> times,
                         std::span<const int64_t> created, int64_t first_row) {
  GNOMON_CHECK(first_row >= 0, first_row);
  return impl_->Add(
      {.ids = ids, .times = times, .created = created, .numbers = {}, .first = first_row});
}

Status AsOfJoin::AddNumberedRows(std::span<const int32_t> ids, std::span<const int64_t> times,
                                 std::span<const int64_t> created, std::span<const int64_t> rows) {
  GNOMON_CHECK(rows.size() == ids.size(), ids.size(), " ids, ", rows.size(), " rows");
  return impl_->Add({.ids = ids, .times = times, .created = created, .numbers = rows});
}

Status AsOfJoin::MergeRows(const Context& context, std::span<const int32_t> ids,
                           std::span<const int64_t> times, std::span<const int64_t> created,
                           std::span<const int64_t> rows) {
  GNOMON_CHECK(rows.size() == ids.size(), ids.size(), " ids, ", rows.size(), " rows");
  const Rows all{.ids = ids, .times = times, .created = created, .numbers = rows};
  if (ids.empty() || impl_->labels->index.order.empty()) return Status::OK();
  GNOMON_RETURN_NOT_OK(impl_->Allocate());
  if (!created.empty()) GNOMON_RETURN_NOT_OK(impl_->AllocateCreated());
  MemoryReservation memory(impl_->memory.budget());
  std::vector<int64_t> seen;  // from when on a label sees the row, when that is not its time
  if (impl_->labels->options.filter_by_created && !created.empty()) {
    GNOMON_RETURN_NOT_OK(memory.Grow(static_cast<int64_t>(times.size() * sizeof(int64_t))));
    seen.resize(times.size());
    std::ranges::transform(times, created, seen.begin(),
                           [](int64_t time, int64_t made) { return std::max(time, made); });
  }
  const EntityIndex& labels = impl_->labels->index;
  GNOMON_ASSIGN_OR_RETURN(
      const EntityIndex sorted,
      BuildEntityIndex(context, ids, seen.empty() ? times : seen, {}, &labels, &memory));
  const int64_t grain = std::max<int64_t>(
      1, 16384 * labels.num_entities() / std::max<int64_t>(1, std::ssize(labels.order)));
  return ParallelRanges(context, labels.num_entities(), grain, [&](int64_t begin, int64_t end) {
    for (auto entity = static_cast<size_t>(begin); entity < static_cast<size_t>(end); ++entity) {
      if (impl_->created.empty()) {
        impl_->MergeEntity<false>(sorted, entity, all);
      } else {
        impl_->MergeEntity<true>(sorted, entity, all);
      }
    }
    return Status::OK();
  });
}

Status AsOfJoin::Merge(const Context& context, const AsOfJoin& other) {
  Impl& own = *impl_;
  const Impl& more = *other.impl_;
  GNOMON_CHECK(own.labels->num_labels == more.labels->num_labels &&
                   own.labels->index.order.size() == more.labels->index.order.size(),
               "joins over different labels");
  if (more.slots.empty()) return Status::OK();
  GNOMON_RETURN_NOT_OK(own.Allocate());
  const bool with_created = !more.created.empty() || !own.created.empty();
  if (with_created) GNOMON_RETURN_NOT_OK(own.AllocateCreated());
  return ParallelRanges(
      context, std::ssize(more.slots), kSlotsOfTask, [&](int64_t begin, int64_t end) {
        for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
          const Slot& slot = more.slots[i];
          const auto place = static_cast<uint32_t>(i);
          if (with_created) {
            const int64_t created_time = more.created.empty() ? kMinTime : more.created[i];
            own.Offer<true>(place, slot.time, created_time, slot.row);
          } else {
            own.Offer<false>(place, slot.time, kMinTime, slot.row);
          }
        }
        return Status::OK();
      });
}

/// The winners of one entity's labels: a running maximum along its slots.
void AsOfJoin::Impl::FinishEntity(size_t entity, std::span<int64_t> winners) const {
  const EntityIndex& index = labels->index;
  const std::vector<int64_t>& oldest = labels->oldest;
  size_t best = index.offsets[entity];
  const auto key = [&](size_t i) {
    return std::tuple(slots[i].time, created.empty() ? kMinTime : created[i], slots[i].row);
  };
  for (size_t i = best; i < index.offsets[entity + 1]; ++i) {
    if (key(i) > key(best)) best = i;
    if (!oldest.empty() && slots[best].time < oldest[i]) continue;
    winners[index.order[i]] = slots[best].row;
  }
}

Result<std::vector<int64_t>> AsOfJoin::Finish(const Context& context) const {
  std::vector<int64_t> winners(static_cast<size_t>(impl_->labels->num_labels));
  GNOMON_RETURN_NOT_OK(Finish(context, winners));
  return winners;
}

Status AsOfJoin::Finish(const Context& context, std::span<int64_t> winners) const {
  GNOMON_CHECK(static_cast<int64_t>(winners.size()) == impl_->labels->num_labels, winners.size());
  std::ranges::fill(winners, kNoRow);
  if (impl_->slots.empty()) return Status::OK();
  const int64_t num_entities = impl_->labels->index.num_entities();
  const int64_t grain = std::max<int64_t>(
      1, kSlotsOfTask * num_entities / std::max<int64_t>(1, std::ssize(impl_->slots)));
  return ParallelRanges(context, num_entities, grain, [&](int64_t begin, int64_t end) {
    for (auto entity = static_cast<size_t>(begin); entity < static_cast<size_t>(end); ++entity)
      impl_->FinishEntity(entity, winners);
    return Status::OK();
  });
}

}  // namespace gnomon::pit
