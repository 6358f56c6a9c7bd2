#include <algorithm>
#include <limits>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "dataset/asof/matching_internal.h"
#include "pit/time_unit.h"
#include "table/column.h"

namespace gnomon::dataset::internal {

namespace {

constexpr int64_t kMicro = 1000;  ///< nanoseconds
constexpr int64_t kMaxInt64 = std::numeric_limits<int64_t>::max();
constexpr int64_t kMinInt64 = std::numeric_limits<int64_t>::min();
constexpr const char* kOverflow = "event times do not fit the unit of the created times";

int64_t UnitOf(const BoundFeatures& features, int column) {
  return table::UnitNanos(*features.table().schema()->field(column)->type());
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
  if (label_unit == unit && reach % unit == 0 && reach / unit <= kMaxInt64) {
    const auto units = static_cast<int64_t>(reach / unit);
    for (size_t i = 0; i < times.size(); ++i)
      bounds.oldest[i] = times[i] < kMinInt64 + units ? kMinInt64 : times[i] - units;
    return bounds;
  }
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
  const table::PartitionedTable& table = features.table();
  GNOMON_ASSIGN_OR_RETURN(stream.stream_,
                          features.times ? table.ScanTimes(context, partition, columns, batch_rows,
                                                           features.on, *features.times)
                                         : table.Scan(context, partition, columns, batch_rows));
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
  if (stream_->first_row() >= 0) row_ = stream_->first_row();
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

}  // namespace gnomon::dataset::internal
