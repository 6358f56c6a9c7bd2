#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include <arrow/array.h>
#include <arrow/array/util.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/parallel.h"
#include "dataset/asof/late_gather_internal.h"
#include "dataset/asof/stored_features_internal.h"
#include "runtime/spill_file.h"
#include "table/column.h"

namespace gnomon::dataset::internal {

namespace {

static_assert(pit::kNoRow == -1);

// Winners are not negative; what they become is below kNoRow, so that it is no winner any more.
int64_t EncodePlace(int64_t place) { return -2 - place; }
int64_t DecodePlace(int64_t encoded) { return encoded == pit::kNoRow ? -1 : -2 - encoded; }

/// Winners are counted by groups of neighbouring rows: at least 2^kLeastBits of them, and more when
/// there were more groups than kMostGroups.
constexpr int kLeastBits = 10;
constexpr int64_t kMostGroups = int64_t{1} << 16;

/// Rows [begin, end), by number, that are gathered together.
struct RowRange {
  int64_t begin;
  int64_t end;
};

int GroupBits(std::span<const int64_t> winners, int64_t num_partitions) {
  int64_t last_row = 0;
  for (const int64_t winner : winners) {
    if (winner >= 0) last_row = std::max(last_row, RowOf(winner));
  }
  int bits = kLeastBits;
  while ((last_row >> bits) > kMostGroups / std::max<int64_t>(1, num_partitions)) ++bits;
  return bits;
}

/// Ranges in input order with at most `run_rows` winners each, or with those of one group.
std::vector<RowRange> CutRows(std::span<const int64_t> winners, int64_t num_partitions,
                              int64_t run_rows) {
  const int bits = GroupBits(winners, num_partitions);
  std::map<int64_t, int64_t> counts;
  for (const int64_t winner : winners) {
    if (winner >= 0) ++counts[winner >> bits];
  }
  std::vector<RowRange> ranges;
  int64_t rows = 0;
  for (const auto& [group, count] : counts) {
    if (ranges.empty() || rows + count > run_rows) {
      ranges.push_back({group << bits, 0});
      rows = 0;
    }
    ranges.back().end = (group + 1) << bits;
    rows += count;
  }
  return ranges;
}

/// Gathers labels run by run and appends their features to the file.
class RunWriter {
 public:
  RunWriter(const Context& context, const BoundFeatures& features, int64_t run_rows,
            runtime::SpillFile* file, std::shared_ptr<arrow::Schema> schema,
            std::span<int64_t> winners)
      : context_(context),
        features_({features}),
        run_rows_(run_rows),
        file_(*file),
        schema_(std::move(schema)),
        winners_(winners) {}

  Status Write(const RowRange& range) {
    for (size_t label = 0; label < winners_.size(); ++label) {
      const int64_t winner = winners_[label];
      if (winner < range.begin || winner >= range.end) continue;
      run_.push_back(winner);
      winners_[label] = EncodePlace(file_.rows() + static_cast<int64_t>(run_.size()) - 1);
      if (static_cast<int64_t>(run_.size()) == run_rows_) GNOMON_RETURN_NOT_OK(WriteRun());
    }
    return run_.empty() ? Status::OK() : WriteRun();
  }

  int64_t num_runs() const { return num_runs_; }

 private:
  Status WriteRun() {
    GNOMON_RETURN_NOT_OK(context_.Check());
    GNOMON_ASSIGN_OR_RETURN(auto columns, GatherLate(context_, features_, {run_}));
    GNOMON_RETURN_NOT_OK(file_.Write(
        *arrow::RecordBatch::Make(schema_, static_cast<int64_t>(run_.size()), std::move(columns))));
    run_.clear();
    ++num_runs_;
    return Status::OK();
  }

  const Context& context_;
  const std::vector<BoundFeatures> features_;
  const int64_t run_rows_;
  runtime::SpillFile& file_;
  const std::shared_ptr<arrow::Schema> schema_;
  const std::span<int64_t> winners_;
  std::vector<int64_t> run_;
  int64_t num_runs_ = 0;
};

}  // namespace

Result<StoredFeatures> StoredFeatures::Gather(const Context& context, const BoundFeatures& features,
                                              int64_t run_rows, const std::string& spill_folder,
                                              std::span<int64_t> winners) {
  StoredFeatures stored;
  arrow::FieldVector fields;
  for (const int column : features.features)
    fields.push_back(features.table().schema()->field(column)->WithNullable(true));
  stored.schema_ = arrow::schema(std::move(fields));
  if (features.features.empty()) return stored;
  GNOMON_ASSIGN_OR_RETURN(auto file, runtime::SpillFile::Create(stored.schema_, spill_folder));
  RunWriter writer(context, features, run_rows, &file, stored.schema_, winners);
  for (const RowRange& range : CutRows(winners, features.table().num_partitions(), run_rows))
    GNOMON_RETURN_NOT_OK(writer.Write(range));
  GNOMON_ASSIGN_OR_RETURN(const auto reader, file.Read());
  GNOMON_ASSIGN_OR_RETURN(const auto batches, reader->ToRecordBatches());
  GNOMON_ASSIGN_OR_RETURN(stored.rows_, arrow::Table::FromRecordBatches(stored.schema_, batches));
  stored.num_runs_ = writer.num_runs();
  stored.bytes_ = file.bytes();
  return stored;
}

Result<arrow::ArrayVector> StoredFeatures::Take(const Context& context,
                                                std::span<const int64_t> places) const {
  std::vector<int64_t> rows;
  rows.reserve(places.size());
  for (const int64_t place : places) rows.push_back(DecodePlace(place));
  arrow::ArrayVector columns(static_cast<size_t>(schema_->num_fields()));
  GNOMON_RETURN_NOT_OK(
      ParallelFor(context, static_cast<int64_t>(columns.size()), [&](int64_t i) -> Status {
        const auto& column = *rows_->column(static_cast<int>(i));
        return table::Gather(column, rows).Value(&columns[static_cast<size_t>(i)]);
      }));
  return columns;
}

}  // namespace gnomon::dataset::internal
