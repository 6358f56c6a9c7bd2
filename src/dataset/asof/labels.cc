#include <algorithm>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/parallel.h"
#include "base/text.h"
#include "dataset/asof/labels_internal.h"
#include "pit/time_unit.h"
#include "table/column.h"

namespace gnomon::dataset::internal {

namespace {

constexpr int64_t kMicro = 1000;  ///< nanoseconds
constexpr int64_t kBatchRows = int64_t{128} * 1024;

/// Rows of a table whose files do not tell: all of it is read.
Result<int64_t> CountRows(const Context& context, const table::PartitionedTable& table, int on) {
  int64_t rows = 0;
  for (int64_t partition = 0; partition < table.num_partitions(); ++partition) {
    if (table.num_rows(partition) >= 0) {
      rows += table.num_rows(partition);
      continue;
    }
    GNOMON_ASSIGN_OR_RETURN(const auto stream, table.Scan(context, partition, {on}, kBatchRows));
    while (true) {
      GNOMON_ASSIGN_OR_RETURN(const auto batch, stream->Next());
      if (batch == nullptr) break;
      rows += batch->num_rows();
    }
  }
  return rows;
}

Status InsertKeys(const arrow::ArrayVector& columns, Labels::KeySet* keys, std::span<int32_t> ids) {
  if (columns.empty()) {
    std::ranges::fill(ids, 0);
    return Status::OK();
  }
  GNOMON_RETURN_NOT_OK(keys->index->Insert(columns, ids, &keys->memory));
  keys->num_keys = keys->index->size();
  return Status::OK();
}

Status Changed(const table::PartitionedTable& left) {
  return Error(ErrorKind::kConflict,
               "the labels changed while they were being read: ", left.name());
}

}  // namespace

/// Fills Labels batch by batch.
class Labels::Reader {
 public:
  Reader(const Context& context, const table::PartitionedTable& left, Labels* labels,
         LeftRows* rows)
      : context_(context), left_(left), labels_(*labels), rows_(*rows) {}

  Status Prepare(int on, const std::vector<std::vector<int>>& key_sets,
                 const std::string& spill_folder) {
    GNOMON_ASSIGN_OR_RETURN(labels_.num_rows_, CountRows(context_, left_, on));
    labels_.unit_nanos_ = table::UnitNanos(*left_.schema()->field(on)->type());
    GNOMON_ASSIGN_OR_RETURN(
        labels_.times_, SpillableArray<int64_t>::Make(context_, spill_folder, labels_.num_rows_));
    columns_ = {on};
    for (const std::vector<int>& key_columns : key_sets) {
      std::unique_ptr<KeySet>& keys = labels_.key_sets_[key_columns];
      if (keys != nullptr) continue;
      keys = std::make_unique<KeySet>();
      keys->columns = key_columns;
      keys->memory = MemoryReservation(context_.memory);
      GNOMON_ASSIGN_OR_RETURN(
          keys->ids, SpillableArray<int32_t>::Make(context_, spill_folder, labels_.num_rows_));
      GNOMON_RETURN_NOT_OK(AddColumns(keys.get()));
    }
    for (int column = 0; column < left_.schema()->num_fields(); ++column) {
      const auto found = std::ranges::find(columns_, column);
      places_.push_back(static_cast<int>(found - columns_.begin()));
      if (found == columns_.end()) other_columns_.push_back(column);
      if (found == columns_.end()) places_.back() += static_cast<int>(other_columns_.size()) - 1;
    }
    return Status::OK();
  }

  Status ReadAll() {
    for (int64_t partition = 0; partition < left_.num_partitions(); ++partition)
      GNOMON_RETURN_NOT_OK(ReadPartition(partition));
    if (static_cast<int64_t>(row_) != labels_.num_rows_) return Changed(left_);
    if (least_ > greatest_) return Status::OK();
    const int64_t unit = labels_.unit_nanos_;
    labels_.range_ =
        table::TimeRange{.min = pit::FloorToUnit(pit::ToNanos(least_, unit), kMicro),
                         .max = pit::CeilToUnit(pit::ToNanos(greatest_, unit), kMicro)};
    return Status::OK();
  }

 private:
  struct Target {
    KeySet* keys;
    std::vector<int> places;  ///< of its columns in a batch
  };

  /// A batch is decoded while the keys of the one before it are inserted.
  Status ReadPartition(int64_t partition) {
    std::vector<int> columns = columns_;
    const bool whole = rows_.keeps();
    if (whole) columns.insert(columns.end(), other_columns_.begin(), other_columns_.end());
    GNOMON_ASSIGN_OR_RETURN(const auto stream,
                            left_.Scan(context_, partition, columns, kBatchRows));
    GNOMON_ASSIGN_OR_RETURN(auto batch, stream->Next());
    while (batch != nullptr) {
      std::shared_ptr<arrow::RecordBatch> next;
      GNOMON_RETURN_NOT_OK(ParallelFor(context_, 2, [&](int64_t task) -> Status {
        if (task == 0) return Add(*batch);
        GNOMON_ASSIGN_OR_RETURN(next, stream->Next());
        return Status::OK();
      }));
      if (whole) {
        GNOMON_ASSIGN_OR_RETURN(auto row, batch->SelectColumns(places_));
        GNOMON_RETURN_NOT_OK(rows_.Keep(std::move(row)));
      }
      batch = std::move(next);
    }
    return Status::OK();
  }

  Status AddColumns(KeySet* keys) {
    std::vector<std::shared_ptr<arrow::DataType>> types;
    Target target{.keys = keys, .places = {}};
    for (const int column : keys->columns) {
      types.push_back(left_.schema()->field(column)->type());
      const auto found = std::ranges::find(columns_, column);
      target.places.push_back(static_cast<int>(found - columns_.begin()));
      if (found == columns_.end()) columns_.push_back(column);
    }
    targets_.push_back(std::move(target));
    if (types.empty()) {
      keys->num_keys = 1;  // without labels, too
      return Status::OK();
    }
    auto index = table::KeyIndex::Make(types);
    if (!index.ok()) return WithContext(index.status(), Concat("keys of ", left_.name()));
    keys->index = std::make_shared<table::KeyIndex>(*std::move(index));
    return Status::OK();
  }

  Status Add(const arrow::RecordBatch& batch) {
    const auto count = static_cast<size_t>(batch.num_rows());
    if (count > labels_.times_.values().size() - row_) return Changed(left_);
    const arrow::Array& time_column = *batch.column(0);
    GNOMON_ASSIGN_OR_RETURN(const auto times, table::RawTimes(time_column));
    std::ranges::copy(times, labels_.times_.values().begin() + static_cast<ptrdiff_t>(row_));
    for (const Target& target : targets_) {
      arrow::ArrayVector keys;
      for (const int place : target.places) keys.push_back(batch.column(place));
      GNOMON_RETURN_NOT_OK(
          WithContext(InsertKeys(keys, target.keys, target.keys->ids.values().subspan(row_, count)),
                      Concat("keys of ", left_.name())));
    }
    for (size_t i = 0; i < count; ++i, ++row_) {
      const bool has_time = time_column.IsValid(static_cast<int64_t>(i));
      bool is_null = !has_time;
      for (const Target& target : targets_) {
        int32_t& id = target.keys->ids.values()[row_];
        if (!has_time) id = table::KeyIndex::kNull;
        is_null = is_null || id < 0;
      }
      labels_.null_rows_ += is_null ? 1 : 0;
      if (!has_time) continue;
      least_ = std::min(least_, times[i]);
      greatest_ = std::max(greatest_, times[i]);
    }
    return Status::OK();
  }

  const Context& context_;
  const table::PartitionedTable& left_;
  Labels& labels_;
  LeftRows& rows_;
  std::vector<int> columns_;        ///< that are read: times, then keys
  std::vector<int> other_columns_;  ///< are read when whole rows are kept
  std::vector<int> places_;         ///< of the table's columns in a batch of all
  std::vector<Target> targets_;
  size_t row_ = 0;
  int64_t least_ = std::numeric_limits<int64_t>::max();
  int64_t greatest_ = std::numeric_limits<int64_t>::min();
};

Result<Labels> Labels::Read(const Context& context, const table::PartitionedTable& left, int on,
                            const std::vector<std::vector<int>>& key_sets,
                            const std::string& spill_folder, LeftRows* rows) {
  Labels labels;
  Reader reader(context, left, &labels, rows);
  GNOMON_RETURN_NOT_OK(reader.Prepare(on, key_sets, spill_folder));
  GNOMON_RETURN_NOT_OK(reader.ReadAll());
  return labels;
}

int64_t Labels::num_keys() const {
  int64_t keys = 0;
  for (const auto& [columns, set] : key_sets_) keys = std::max(keys, set->num_keys);
  return keys;
}

int64_t Labels::spilled_bytes() const {
  int64_t bytes = times_.spilled_bytes();
  for (const auto& [columns, set] : key_sets_) bytes += set->ids.spilled_bytes();
  return bytes;
}

}  // namespace gnomon::dataset::internal
