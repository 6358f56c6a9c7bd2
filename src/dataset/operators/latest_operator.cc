#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>
#include <tuple>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/ids.h"
#include "base/text.h"
#include "dataset/operators/accumulator_internal.h"
#include "dataset/operators/factories_internal.h"
#include "dataset/operators/key_map_internal.h"
#include "dataset/operators/sorter_internal.h"
#include "pit/time_unit.h"
#include "table/column.h"

/// The newest row of every key, by hash. The newest rows so far are in memory; when it is refused
/// no more keys are taken: rows of keys that are not known go to one of sixteen partitions in
/// files, which are gone through afterwards the same way. Each of these gives its rows in input
/// order, and all are merged by it.
namespace gnomon::dataset::internal {

namespace {

constexpr int kNumPartitions = 16;
/// Taken whatever the budget says, so that every level makes progress.
constexpr int64_t kLeastKeys = 64;
/// Of a row: as it is kept, those it has replaced, and the copy that puts rows into order.
constexpr int64_t kCopies = 3;
constexpr int64_t kMicro = 1000;  ///< nanoseconds
constexpr int64_t kNone = std::numeric_limits<int64_t>::min();
constexpr const char* kPosition = "__position";

/// Input batches have the input's columns and the input position at the end, and so has the output.
struct LatestPlan {
  const Environment& environment;
  SchemaPtr schema;
  std::vector<int> keys;
  int time;
  int created;    ///< -1: none
  int64_t first;  ///< raw, as the next
  int64_t last;
  std::vector<int> sums;  ///< columns
  OperatorStats* stats;

  int position() const { return schema->num_fields() - 1; }
  bool IsSum(int column) const { return std::ranges::find(sums, column) != sums.end(); }
};

/// Raw values, kNone for nulls.
Result<std::vector<int64_t>> TimesOf(const arrow::RecordBatch& batch, int column) {
  if (column < 0) return std::vector<int64_t>(static_cast<size_t>(batch.num_rows()), kNone);
  const arrow::Array& values = *batch.column(column);
  GNOMON_ASSIGN_OR_RETURN(auto times, table::RawTimes(values));
  for (size_t row = 0; values.null_count() > 0 && row < times.size(); ++row) {
    if (values.IsNull(static_cast<int64_t>(row))) times[row] = kNone;
  }
  return times;
}

/// The newest rows of the keys that memory has room for.
class NewestOfKeys {
 public:
  NewestOfKeys(const LatestPlan& plan, int level)
      : plan_(plan),
        level_(level),
        reservation_(plan.environment.context.memory),
        sums_(plan.sums.size()) {
    for (const auto& field : plan.schema->fields())
      columns_.emplace_back(std::in_place, field->type());
  }

  Status Consume(const BatchPtr& batch) {
    GNOMON_ASSIGN_OR_RETURN(const EncodedKeys keys, KeyEncoder(plan_.keys).Encode(*batch));
    GNOMON_ASSIGN_OR_RETURN(const auto times, TimesOf(*batch, plan_.time));
    GNOMON_ASSIGN_OR_RETURN(const auto created, TimesOf(*batch, plan_.created));
    GNOMON_ASSIGN_OR_RETURN(const int64_t bytes, BatchBytes(*batch));
    const int64_t row_bytes = kCopies * (bytes / std::max<int64_t>(1, batch->num_rows()) + 1);
    const auto positions = Int64Column(*batch, plan_.position());
    std::vector<int32_t> aside;
    std::vector<int32_t> key_of(times.size(), -1);
    changed_.clear();
    for (size_t row = 0; row < times.size(); ++row) {
      if (times[row] != kNone && (times[row] < plan_.first || times[row] > plan_.last)) continue;
      const std::string_view key = keys[static_cast<int64_t>(row)];
      const uint64_t hash = HashBytes(key, static_cast<uint64_t>(level_) + 1);
      int32_t id = map_.Find(key, hash);
      if (id == KeyMap::kAbsent && !HasRoom(key, row_bytes)) {
        if (aside.empty()) aside.assign(times.size(), -1);
        aside[row] = static_cast<int32_t>(hash >> 60);
        continue;
      }
      if (id == KeyMap::kAbsent) {
        id = map_.Insert(key, hash);
        newest_.emplace_back();
      }
      key_of[row] = id;
      Newest& newest = newest_[static_cast<size_t>(id)];
      const auto place = std::tie(times[row], created[row], positions[row]);
      if (newest.position >= 0 && place < std::tie(newest.time, newest.created, newest.position))
        continue;
      if (newest.row < 0) changed_.push_back(id);
      newest = {times[row], created[row], positions[row], static_cast<int64_t>(row)};
    }
    GNOMON_RETURN_NOT_OK(AddSums(*batch, key_of));
    GNOMON_RETURN_NOT_OK(Keep(*batch));
    return aside.empty() ? Status::OK() : PutAside(batch, aside);
  }

  /// The rows in memory in input order; they are let go.
  Result<BatchPtr> TakeRows() {
    std::vector<int64_t> order(newest_.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::sort(order, {},
                      [&](int64_t id) { return newest_[static_cast<size_t>(id)].position; });
    map_ = KeyMap();
    arrow::ArrayVector columns;
    for (int column = 0; column < plan_.schema->num_fields(); ++column) {
      GNOMON_ASSIGN_OR_RETURN(const auto values, TakeColumn(column));
      GNOMON_ASSIGN_OR_RETURN(columns.emplace_back(),
                              table::Gather(arrow::ChunkedArray(values), order));
    }
    newest_.clear();
    return arrow::RecordBatch::Make(plan_.schema, static_cast<int64_t>(order.size()),
                                    std::move(columns));
  }

  PartitionWriter* aside() { return aside_.get(); }
  int level() const { return level_; }
  void FreeMemory() { reservation_.Clear(); }

 private:
  struct Newest {
    int64_t time = kNone;
    int64_t created = kNone;
    int64_t position = -1;
    int64_t row = -1;  ///< of the batch that is being taken in
  };

  bool HasRoom(std::string_view key, int64_t row_bytes) {
    if (full_) return false;
    if (map_.size() < kLeastKeys) return true;
    const int64_t bytes = row_bytes + 2 * KeyMap::BytesOf(key) +
                          static_cast<int64_t>(2 * sizeof(Newest) + sizeof(int64_t));
    if (granted_ < bytes) {
      const int64_t grant = 16 * bytes;
      full_ = !reservation_.TryGrow(grant);
      if (full_) return false;
      granted_ += grant;
    }
    granted_ -= bytes;
    return true;
  }

  Status AddSums(const arrow::RecordBatch& batch, const std::vector<int32_t>& key_of) {
    for (size_t i = 0; i < plan_.sums.size(); ++i) {
      sums_[i].resize(newest_.size(), 0);
      const auto& values = static_cast<const arrow::Int64Array&>(*batch.column(plan_.sums[i]));
      for (size_t row = 0; row < key_of.size(); ++row) {
        const auto place = static_cast<int64_t>(row);
        if (key_of[row] < 0 || values.IsNull(place)) continue;
        int64_t& sum = sums_[i][static_cast<size_t>(key_of[row])];
        if (!__builtin_add_overflow(sum, values.Value(place), &sum)) continue;
        return Error(ErrorKind::kUser, "the sum of ",
                     Quoted(plan_.schema->field(plan_.sums[i])->name()),
                     " is larger than int64 can hold");
      }
    }
    return Status::OK();
  }

  /// Copies the rows of the batch that are the newest now.
  Status Keep(const arrow::RecordBatch& batch) {
    std::vector<int64_t> rows;
    for (const int32_t id : changed_) {
      Newest& newest = newest_[static_cast<size_t>(id)];
      rows.push_back(std::exchange(newest.row, -1));
    }
    for (int column = 0; column < batch.num_columns(); ++column) {
      if (plan_.IsSum(column)) continue;
      PickedValues& values = *columns_[static_cast<size_t>(column)];
      values.Resize(map_.size());
      GNOMON_RETURN_NOT_OK(values.Take(batch.column(column), rows, changed_));
    }
    return Status::OK();
  }

  Result<std::shared_ptr<arrow::Array>> TakeColumn(int column) {
    const auto sum = std::ranges::find(plan_.sums, column);
    if (sum != plan_.sums.end()) {
      auto& sums = sums_[static_cast<size_t>(sum - plan_.sums.begin())];
      const auto length = static_cast<int64_t>(sums.size());
      return std::make_shared<arrow::Int64Array>(length,
                                                 arrow::Buffer::FromVector(std::move(sums)));
    }
    std::optional<PickedValues>& kept = columns_[static_cast<size_t>(column)];
    kept->Resize(static_cast<int64_t>(newest_.size()));
    auto values = kept->Finish();
    kept.reset();
    return values;
  }

  Status PutAside(const BatchPtr& batch, const std::vector<int32_t>& partitions) {
    if (aside_ == nullptr) {
      aside_ = std::make_unique<PartitionWriter>(plan_.environment, plan_.schema, kNumPartitions,
                                                 plan_.stats);
    }
    return aside_->Add(batch, partitions);
  }

  const LatestPlan& plan_;
  const int level_;
  MemoryReservation reservation_;
  int64_t granted_ = 0;
  bool full_ = false;
  KeyMap map_;
  std::vector<Newest> newest_;                        ///< by key
  std::vector<std::vector<int64_t>> sums_;            ///< by sum, then key
  std::vector<std::optional<PickedValues>> columns_;  ///< of the newest rows
  std::vector<int32_t> changed_;                      ///< keys whose newest row is in the batch
  std::unique_ptr<PartitionWriter> aside_;
};

class LatestOperator : public Operator {
 public:
  LatestOperator(const Environment& environment, const Plan& plan, OperatorPtr input,
                 OperatorStats* stats)
      : Operator(environment, plan->schema(), stats),
        input_(std::move(input)),
        plan_{environment, nullptr, {}, -1, -1, kNone + 1, std::numeric_limits<int64_t>::max(),
              {},          stats} {
    const auto& spec = std::get<LatestSpec>(plan->spec());
    const auto place_of = [&](const std::string& name) { return schema()->GetFieldIndex(name); };
    for (const std::string& key : spec.keys) plan_.keys.push_back(place_of(key));
    for (const std::string& sum : spec.sums) plan_.sums.push_back(place_of(sum));
    plan_.time = place_of(spec.time);
    if (!spec.created.empty()) plan_.created = place_of(spec.created);
    const int64_t unit = table::UnitNanos(*schema()->field(plan_.time)->type());
    if (spec.first) plan_.first = pit::CeilToUnit(pit::ToNanos(*spec.first, kMicro), unit);
    if (spec.last) plan_.last = pit::FloorToUnit(pit::ToNanos(*spec.last, kMicro), unit);
    arrow::FieldVector fields = schema()->fields();
    fields.push_back(arrow::field(kPosition, arrow::int64(), false));
    plan_.schema = arrow::schema(std::move(fields));
    runs_ = std::make_unique<RunStack>(environment, plan_.schema, KeyEncoder({plan_.position()}),
                                       stats);
  }

 private:
  Result<BatchPtr> Pull() override {
    if (rows_ == nullptr) GNOMON_RETURN_NOT_OK(FindNewest());
    GNOMON_ASSIGN_OR_RETURN(const auto batch, rows_->Next());
    if (batch == nullptr) return nullptr;
    arrow::ArrayVector columns = batch->columns();
    columns.pop_back();
    return arrow::RecordBatch::Make(schema(), batch->num_rows(), std::move(columns));
  }

  Status FindNewest() {
    newest_ = std::make_unique<NewestOfKeys>(plan_, 0);
    int64_t position = 0;
    while (true) {
      GNOMON_ASSIGN_OR_RETURN(const auto batch, input_->Next());
      if (batch == nullptr) break;
      GNOMON_ASSIGN_OR_RETURN(
          const auto numbered,
          WithInt64Column(*batch, kPosition, Positions(position, batch->num_rows())));
      position += batch->num_rows();
      GNOMON_RETURN_NOT_OK(newest_->Consume(numbered));
    }
    if (newest_->aside() != nullptr) {
      GNOMON_RETURN_NOT_OK(Spill(newest_.get()));
      newest_.reset();
      return runs_->Merge(nullptr).Value(&rows_);
    }
    // The memory stays reserved while the rows are given out.
    GNOMON_ASSIGN_OR_RETURN(const auto all, newest_->TakeRows());
    std::vector<BatchPtr> slices;
    for (int64_t row = 0; row < all->num_rows(); row += batch_rows())
      slices.push_back(all->Slice(row, batch_rows()));
    rows_ = std::make_unique<MemorySource>(std::move(slices));
    return Status::OK();
  }

  /// Writes the rows in memory as a run, then those of the partitions.
  Status Spill(NewestOfKeys* newest) {
    GNOMON_ASSIGN_OR_RETURN(const auto rows, newest->TakeRows());
    MemorySource source({rows});
    GNOMON_RETURN_NOT_OK(runs_->Add(&source));
    newest->FreeMemory();
    PartitionWriter* aside = newest->aside();
    if (aside != nullptr) GNOMON_RETURN_NOT_OK(aside->FlushAll());
    for (int i = 0; aside != nullptr && i < kNumPartitions; ++i) {
      if (aside->rows(i) == 0) continue;
      NewestOfKeys below(plan_, newest->level() + 1);
      GNOMON_ASSIGN_OR_RETURN(const auto unread, aside->Read(i));
      while (true) {
        GNOMON_RETURN_NOT_OK(context().Check());
        GNOMON_ASSIGN_OR_RETURN(const auto batch, unread->Next());
        if (batch == nullptr) break;
        GNOMON_RETURN_NOT_OK(below.Consume(batch));
      }
      GNOMON_RETURN_NOT_OK(Spill(&below));
      aside->Drop(i);
    }
    return Status::OK();
  }

  const OperatorPtr input_;
  LatestPlan plan_;
  std::unique_ptr<NewestOfKeys> newest_;
  std::unique_ptr<RunStack> runs_;
  std::unique_ptr<BatchSource> rows_;
};

}  // namespace

OperatorPtr MakeLatestOperator(const Environment& environment, const Plan& plan, OperatorPtr input,
                               OperatorStats* stats) {
  return std::make_unique<LatestOperator>(environment, plan, std::move(input), stats);
}

}  // namespace gnomon::dataset::internal
