#include <algorithm>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/parallel.h"
#include "base/text.h"
#include "dataset/asof/matching_internal.h"
#include "pit/time_unit.h"
#include "table/column.h"

namespace gnomon::dataset::internal {

namespace {

constexpr int64_t kMicro = 1000;  ///< nanoseconds
constexpr int64_t kMergeChunkRows = 1 << 19;
constexpr const char* kOverflow = "event times do not fit the unit of the created times";

int64_t UnitOf(const BoundFeatures& features, int column) {
  return table::UnitNanos(*features.table().schema()->field(column)->type());
}

/// Rows that match nothing do not count.
bool IsInOrderOfTime(const MatchRows& rows) {
  int64_t latest = std::numeric_limits<int64_t>::min();
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows.ids[i] < 0) continue;
    if (rows.times[i] < latest) return false;
    latest = rows.times[i];
  }
  return true;
}

}  // namespace

int64_t MatchUnit(const BoundFeatures& features, bool refined) {
  const int64_t unit = UnitOf(features, features.on);
  if (features.created < 0 || !refined) return unit;
  return std::min(unit, UnitOf(features, features.created));
}

bool IsUnitOverflow(const Status& status) { return !status.ok() && status.message() == kOverflow; }

LabelBounds BoundsOf(std::span<const int64_t> times, int64_t label_unit, int64_t tolerance,
                     int64_t unit) {
  LabelBounds bounds;
  bounds.times.assign(times.begin(), times.end());
  if (label_unit != unit) {
    for (int64_t& time : bounds.times)
      time = pit::FloorToUnit(pit::ToNanos(time, label_unit), unit);
  }
  if (tolerance <= 0) return bounds;
  bounds.oldest.resize(times.size());
  const pit::Nanos reach = pit::ToNanos(tolerance, kMicro);
  for (size_t i = 0; i < times.size(); ++i)
    bounds.oldest[i] = pit::CeilToUnit(pit::ToNanos(times[i], label_unit) - reach, unit);
  return bounds;
}

Result<MatchStream> MatchStream::Open(const Context& context, const BoundFeatures& features,
                                      const table::KeyIndex* index, int64_t partition, bool refined,
                                      int64_t batch_rows) {
  MatchStream stream;
  stream.features_ = &features;
  stream.index_ = index;
  stream.refined_ = refined;
  stream.partition_ = partition;
  std::vector<int> columns = {features.on};
  if (features.created >= 0) columns.push_back(features.created);
  columns.insert(columns.end(), features.by.begin(), features.by.end());
  GNOMON_ASSIGN_OR_RETURN(stream.stream_,
                          features.table().Scan(context, partition, columns, batch_rows));
  return stream;
}

Status MatchStream::ReadCreated(const arrow::Array& column, MatchRows* rows) const {
  const int64_t unit = MatchUnit(*features_, refined_);
  const int64_t created_unit = UnitOf(*features_, features_->created);
  GNOMON_ASSIGN_OR_RETURN(rows->created, table::RawTimes(column));
  const std::optional<int64_t>& before = features_->request->created_before;
  for (size_t i = 0; i < rows->size(); ++i) {
    int64_t& created = rows->created[i];
    if (column.IsNull(static_cast<int64_t>(i))) {
      created = std::numeric_limits<int64_t>::min();
      continue;
    }
    if (before && pit::ToNanos(created, created_unit) > pit::ToNanos(*before, kMicro))
      rows->ids[i] = table::KeyIndex::kAbsent;
    if (created_unit != unit) created = pit::FloorToUnit(pit::ToNanos(created, created_unit), unit);
  }
  return Status::OK();
}

Result<bool> MatchStream::Next(MatchRows* rows) {
  GNOMON_ASSIGN_OR_RETURN(const auto batch, stream_->Next());
  if (batch == nullptr) return false;
  const int64_t count = batch->num_rows();
  rows->first = NumberOf(partition_, row_);
  row_ += count;
  if (row_ > int64_t{1} << 32)
    return Error(ErrorKind::kUnsupported, "more than 2^32 rows in one part of ",
                 features_->table().name());
  rows->ids.assign(static_cast<size_t>(count), 0);
  rows->numbers.clear();
  rows->created.clear();
  const int first_key = features_->created >= 0 ? 2 : 1;
  if (index_ != nullptr) {
    arrow::ArrayVector keys;
    for (size_t i = 0; i < features_->by.size(); ++i)
      keys.push_back(batch->column(first_key + static_cast<int>(i)));
    GNOMON_RETURN_NOT_OK(
        WithContext(index_->Find(keys, rows->ids), Concat("keys of ", features_->table().name())));
  }
  const arrow::Array& times = *batch->column(0);
  GNOMON_ASSIGN_OR_RETURN(rows->times, table::RawTimes(times));
  if (times.null_count() > 0) {
    null_times_ += times.null_count();
    for (int64_t i = 0; i < count; ++i) {
      if (times.IsNull(i)) rows->ids[static_cast<size_t>(i)] = table::KeyIndex::kNull;
    }
  }
  if (features_->created >= 0) {
    GNOMON_RETURN_NOT_OK(ReadCreated(*batch->column(1), rows));
    if (!pit::RefineUnit(&rows->times, UnitOf(*features_, features_->on),
                         MatchUnit(*features_, refined_)))
      return MakeError(ErrorKind::kInternal, kOverflow);
  }
  return true;
}

Status KernelFeed::Add(const MatchRows& rows) {
  if (kernel_ == AsOfKernel::kLabelSide) {
    if (rows.numbers.empty()) return join_->AddRows(rows.ids, rows.times, rows.created, rows.first);
    return join_->AddNumberedRows(rows.ids, rows.times, rows.created, rows.numbers);
  }
  const auto append = [](auto* to, const auto& from) {
    to->insert(to->end(), from.begin(), from.end());
  };
  append(&pending_.ids, rows.ids);
  append(&pending_.times, rows.times);
  append(&pending_.created, rows.created);
  append(&pending_.numbers, rows.numbers);
  for (size_t i = 0; rows.numbers.empty() && i < rows.size(); ++i)
    pending_.numbers.push_back(rows.first + static_cast<int64_t>(i));
  return static_cast<int64_t>(pending_.size()) >= chunk_rows_ ? Flush() : Status::OK();
}

Status KernelFeed::Flush() {
  if (pending_.size() == 0) return Status::OK();
  if (IsInOrderOfTime(pending_)) {
    GNOMON_RETURN_NOT_OK(join_->MergeRows(context_, pending_.ids, pending_.times, pending_.created,
                                          pending_.numbers));
    merged_rows_ += static_cast<int64_t>(pending_.size());
  } else {
    GNOMON_RETURN_NOT_OK(
        join_->AddNumberedRows(pending_.ids, pending_.times, pending_.created, pending_.numbers));
  }
  pending_.ids.clear();
  pending_.times.clear();
  pending_.created.clear();
  pending_.numbers.clear();
  return Status::OK();
}

Matcher::BaseKey Matcher::KeyOf(const BoundFeatures& features, bool refined) const {
  return {features.left_by, MatchUnit(features, refined), features.request->tolerance,
          features.request->filter_by_created};
}

Result<const pit::AsOfJoin*> Matcher::Base(const BoundFeatures& features, bool refined) {
  const BaseKey key = KeyOf(features, refined);
  if (const auto found = bases_.find(key); found != bases_.end()) return &found->second;
  const int64_t unit = MatchUnit(features, refined);
  MemoryReservation copies(context_.memory);
  GNOMON_RETURN_NOT_OK(copies.Grow(labels_.num_rows() * 16));
  const LabelBounds bounds =
      BoundsOf(labels_.times(), labels_.unit_nanos(), features.request->tolerance, unit);
  GNOMON_ASSIGN_OR_RETURN(
      pit::AsOfJoin join,
      pit::AsOfJoin::Make(context_, labels_.KeysOf(features.left_by).ids.values(), bounds.times,
                          bounds.oldest,
                          {.filter_by_created = features.request->filter_by_created}));
  return &bases_.emplace(key, std::move(join)).first->second;
}

Status Matcher::Prepare(const BoundFeatures& features, const AsOfStrategy& strategy) {
  if (strategy.partitioned) return Status::OK();
  return Base(features, /*refined=*/true).status();
}

Result<SpillableArray<int64_t>> Matcher::Match(const BoundFeatures& features,
                                               const AsOfStrategy& strategy,
                                               AsOfStats::Side* stats) {
  auto winners = TryMatch(features, strategy, /*refined=*/true, stats);
  if (IsUnitOverflow(winners.status()))
    winners = TryMatch(features, strategy, /*refined=*/false, stats);
  GNOMON_RETURN_NOT_OK(winners.status());
  spilled_bytes_ += winners->spilled_bytes();
  for (const int64_t number : winners->values()) stats->matches += number >= 0 ? 1 : 0;
  return winners;
}

Result<SpillableArray<int64_t>> Matcher::TryMatch(const BoundFeatures& features,
                                                  const AsOfStrategy& strategy, bool refined,
                                                  AsOfStats::Side* stats) {
  stats->rows = 0;
  stats->null_times = 0;
  stats->matches = 0;
  stats->merged_rows = 0;
  return strategy.partitioned ? Partitioned(features, strategy, refined, stats)
                              : Broadcast(features, strategy, refined, stats);
}

Result<SpillableArray<int64_t>> Matcher::Broadcast(const BoundFeatures& features,
                                                   const AsOfStrategy& strategy, bool refined,
                                                   AsOfStats::Side* stats) {
  GNOMON_ASSIGN_OR_RETURN(const pit::AsOfJoin* const base, Base(features, refined));
  const table::KeyIndex* const index = labels_.KeysOf(features.left_by).index.get();
  const auto workers = static_cast<size_t>(std::clamp<int64_t>(
      strategy.workers, 1, std::max<int64_t>(1, static_cast<int64_t>(features.partitions.size()))));
  std::vector<std::optional<pit::AsOfJoin>> partial(workers);
  std::atomic<size_t> next{0};
  std::atomic<int64_t> num_rows{0};
  std::atomic<int64_t> null_times{0};
  std::atomic<int64_t> merged_rows{0};
  // Each worker takes the next partition that nobody has taken.
  GNOMON_RETURN_NOT_OK(ParallelFor(context_, static_cast<int64_t>(workers), [&](int64_t worker) {
    GNOMON_ASSIGN_OR_RETURN(pit::AsOfJoin own, base->MakePartial());
    KernelFeed feed(context_, strategy.kernel, kMergeChunkRows, &own);
    MatchRows rows;
    for (size_t i = next++; i < features.partitions.size(); i = next++) {
      GNOMON_ASSIGN_OR_RETURN(MatchStream stream,
                              MatchStream::Open(context_, features, index, features.partitions[i],
                                                refined, settings_.batch_rows));
      while (true) {
        GNOMON_RETURN_NOT_OK(context_.Check());
        GNOMON_ASSIGN_OR_RETURN(const bool more, stream.Next(&rows));
        if (!more) break;
        num_rows += static_cast<int64_t>(rows.size());
        GNOMON_RETURN_NOT_OK(feed.Add(rows));
      }
      null_times += stream.null_times();
      GNOMON_RETURN_NOT_OK(feed.Flush());
    }
    merged_rows += feed.merged_rows();
    partial[static_cast<size_t>(worker)] = std::move(own);
    return Status::OK();
  }));
  stats->rows = num_rows;
  stats->null_times = null_times;
  stats->merged_rows = merged_rows;
  for (size_t worker = 1; worker < workers; ++worker) {
    GNOMON_RETURN_NOT_OK(partial[0]->Merge(*partial[worker]));
    partial[worker].reset();
  }
  GNOMON_ASSIGN_OR_RETURN(auto winners, SpillableArray<int64_t>::Make(
                                            context_, settings_.spill_folder, labels_.num_rows()));
  GNOMON_RETURN_NOT_OK(partial[0]->Finish(winners.values()));
  return winners;
}

}  // namespace gnomon::dataset::internal
