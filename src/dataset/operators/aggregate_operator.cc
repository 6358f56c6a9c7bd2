#include <algorithm>
#include <set>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/ids.h"
#include "base/parallel.h"
#include "dataset/operators/accumulator_internal.h"
#include "dataset/operators/factories_internal.h"
#include "dataset/operators/key_map_internal.h"
#include "dataset/operators/sorter_internal.h"

/// Hash aggregation. Rows are dealt to shards by the hash of their key, one shard a thread. A shard
/// that memory is refused takes no more groups: rows of groups that it does not know go to one of
/// sixteen partitions in files, which are aggregated afterwards the same way. Each shard and
/// partition gives its groups in order of their first rows, and all are merged by them.
namespace gnomon::dataset::internal {

namespace {

constexpr int kNumPartitions = 16;
/// Taken whatever the budget says, so that every level makes progress.
constexpr int64_t kLeastGroups = 64;
constexpr const char* kPosition = "__position";

/// What all shards need to know. Input batches have the key columns and the items' columns, and the
/// input position at the end.
struct AggregatePlan {
  const Environment& environment;
  AggregateSpec spec;
  SchemaPtr input;                ///< with the position
  std::vector<int> keys;          ///< places in input
  std::vector<int> item_columns;  ///< places in input, -1: none
  SchemaPtr output;               ///< with the position of the group's first row
  OperatorStats* stats;
};

struct EncodedBatch {
  BatchPtr batch;
  EncodedKeys keys;
  std::vector<uint64_t> hashes;
};

Result<EncodedBatch> EncodeBatch(const AggregatePlan& plan, BatchPtr batch, int level) {
  EncodedBatch encoded{std::move(batch), {}, {}};
  GNOMON_ASSIGN_OR_RETURN(encoded.keys, KeyEncoder(plan.keys).Encode(*encoded.batch));
  encoded.hashes.resize(static_cast<size_t>(encoded.batch->num_rows()));
  for (size_t row = 0; row < encoded.hashes.size(); ++row) {
    encoded.hashes[row] =
        HashBytes(encoded.keys[static_cast<int64_t>(row)], static_cast<uint64_t>(level) + 1);
  }
  return encoded;
}

class Shard {
 public:
  Shard(const AggregatePlan& plan, int level)
      : plan_(plan), level_(level), reservation_(plan.environment.context.memory) {}

  Status Prepare() {
    for (const int key : plan_.keys) keys_.emplace_back(plan_.input->field(key)->type());
    for (size_t i = 0; i < plan_.spec.items.size(); ++i) {
      const int column = plan_.item_columns[i];
      GNOMON_ASSIGN_OR_RETURN(
          auto accumulator,
          MakeAccumulator(plan_.environment, plan_.spec.items[i],
                          column < 0 ? nullptr : plan_.input->field(column)->type(), &stats_));
      bytes_per_group_ += accumulator->BytesPerGroup();
      accumulators_.push_back(std::move(accumulator));
    }
    bytes_per_group_ += static_cast<int64_t>(4 * plan_.keys.size() * sizeof(int64_t));
    // A group of all rows exists without any row.
    if (plan_.keys.empty()) AddGroup("", HashBytes("", static_cast<uint64_t>(level_) + 1), 0);
    return Status::OK();
  }

  /// Takes the rows of which the hash falls to shard `own` of `count`.
  Status Consume(const EncodedBatch& encoded, uint64_t own, uint64_t count) {
    const auto positions = Int64Column(*encoded.batch, plan_.input->num_fields() - 1);
    std::vector<int64_t> rows;
    std::vector<int32_t> groups;
    std::vector<int64_t> new_rows;
    std::vector<int32_t> new_groups;
    std::vector<int32_t> aside;
    for (size_t row = 0; row < encoded.hashes.size(); ++row) {
      const uint64_t hash = encoded.hashes[row];
      if (((hash & 0xfffff) * count) >> 20 != own) continue;
      const std::string_view key = encoded.keys[static_cast<int64_t>(row)];
      int32_t group = map_.Find(key, hash);
      if (group == KeyMap::kAbsent) {
        if (!HasRoom(key)) {
          if (aside.empty()) aside.assign(encoded.hashes.size(), -1);
          aside[row] = static_cast<int32_t>(hash >> 60);
          continue;
        }
        group = AddGroup(key, hash, positions[row]);
        new_rows.push_back(static_cast<int64_t>(row));
        new_groups.push_back(group);
      }
      rows.push_back(static_cast<int64_t>(row));
      groups.push_back(group);
    }
    GNOMON_RETURN_NOT_OK(Accumulate(*encoded.batch, {rows, groups}, {new_rows, new_groups}));
    return aside.empty() ? Status::OK() : PutAside(encoded.batch, aside);
  }

  /// The groups in memory by their first rows; the states are let go.
  Result<BatchPtr> TakeGroups() {
    ResizeStates();
    arrow::ArrayVector columns;
    for (const PickedValues& key : keys_) {
      GNOMON_ASSIGN_OR_RETURN(auto column, key.Finish());
      columns.push_back(std::move(column));
    }
    for (auto& accumulator : accumulators_) {
      GNOMON_ASSIGN_OR_RETURN(auto column, accumulator->Finish());
      columns.push_back(std::move(column));
      accumulator.reset();
    }
    const auto num_groups = static_cast<int64_t>(first_positions_.size());
    columns.push_back(std::make_shared<arrow::Int64Array>(
        num_groups, arrow::Buffer::FromVector(std::move(first_positions_))));
    map_ = KeyMap();
    keys_.clear();
    return arrow::RecordBatch::Make(plan_.output, num_groups, std::move(columns));
  }

  PartitionWriter* aside() { return aside_.get(); }
  int level() const { return level_; }
  void FreeMemory() { reservation_.Clear(); }
  /// Shards run side by side: their spilling is added up afterwards.
  void AddStatsTo(OperatorStats* stats) {
    stats->spilled_bytes += std::exchange(stats_.spilled_bytes, 0);
    stats->spill_files += std::exchange(stats_.spill_files, 0);
  }

 private:
  bool HasRoom(std::string_view key) {
    if (full_) return false;
    if (map_.size() < kLeastGroups) return true;
    const int64_t bytes = bytes_per_group_ + 2 * KeyMap::BytesOf(key);
    if (granted_ < bytes) {
      const int64_t grant = std::max<int64_t>(bytes, 16 * bytes_per_group_);
      full_ = !reservation_.TryGrow(grant);
      if (full_) return false;
      granted_ += grant;
    }
    granted_ -= bytes;
    return true;
  }

  int32_t AddGroup(std::string_view key, uint64_t hash, int64_t position) {
    first_positions_.push_back(position);
    return map_.Insert(key, hash);
  }

  void ResizeStates() {
    for (PickedValues& key : keys_) key.Resize(map_.size());
    for (auto& accumulator : accumulators_) accumulator->Resize(map_.size());
  }

  Status Accumulate(const arrow::RecordBatch& batch, const GroupedRows& rows,
                    const GroupedRows& first_rows) {
    ResizeStates();
    for (size_t i = 0; i < keys_.size(); ++i) {
      GNOMON_RETURN_NOT_OK(
          keys_[i].Take(batch.column(plan_.keys[i]), first_rows.rows, first_rows.groups));
    }
    for (size_t i = 0; i < accumulators_.size(); ++i) {
      const int column = plan_.item_columns[i];
      GNOMON_RETURN_NOT_OK(
          accumulators_[i]->Add(column < 0 ? nullptr : batch.column(column), rows));
    }
    return Status::OK();
  }

  Status PutAside(const BatchPtr& batch, const std::vector<int32_t>& partitions) {
    if (aside_ == nullptr) {
      aside_ = std::make_unique<PartitionWriter>(plan_.environment, plan_.input, kNumPartitions,
                                                 &stats_);
    }
    return aside_->Add(batch, partitions);
  }

  const AggregatePlan& plan_;
  const int level_;
  OperatorStats stats_;
  MemoryReservation reservation_;
  int64_t granted_ = 0;
  int64_t bytes_per_group_ = 0;
  bool full_ = false;
  KeyMap map_;
  std::vector<int64_t> first_positions_;
  std::vector<PickedValues> keys_;
  std::vector<std::unique_ptr<Accumulator>> accumulators_;
  std::unique_ptr<PartitionWriter> aside_;
};

class AggregateOperator : public Operator {
 public:
  AggregateOperator(const Environment& environment, const Plan& plan, OperatorPtr input,
                    OperatorStats* stats)
      : Operator(environment, plan->schema(), stats),
        input_(std::move(input)),
        plan_{environment, std::get<AggregateSpec>(plan->spec()), {}, {}, {}, {}, stats} {}

  Status Prepare() {
    const arrow::Schema& input = *input_->schema();
    arrow::FieldVector fields;
    const auto place_of = [&](const std::string& name) {
      const int column = input.GetFieldIndex(name);
      const auto known = std::ranges::find(columns_, column);
      if (known != columns_.end()) return static_cast<int>(known - columns_.begin());
      columns_.push_back(column);
      fields.push_back(input.field(column));
      return static_cast<int>(columns_.size()) - 1;
    };
    for (const std::string& key : plan_.spec.keys) plan_.keys.push_back(place_of(key));
    for (const AggregateItem& item : plan_.spec.items)
      plan_.item_columns.push_back(item.column.empty() ? -1 : place_of(item.column));
    const auto position = arrow::field(kPosition, arrow::int64(), false);
    fields.push_back(position);
    plan_.input = arrow::schema(std::move(fields));
    arrow::FieldVector output = schema()->fields();
    output.push_back(position);
    plan_.output = arrow::schema(std::move(output));
    runs_ = std::make_unique<RunStack>(environment(), plan_.output, PositionEncoder(), stats());
    return Status::OK();
  }

 private:
  KeyEncoder PositionEncoder() const { return KeyEncoder({plan_.output->num_fields() - 1}); }

  Result<BatchPtr> Pull() override {
    if (groups_ == nullptr) GNOMON_RETURN_NOT_OK(Aggregate());
    GNOMON_ASSIGN_OR_RETURN(const auto batch, groups_->Next());
    if (batch == nullptr) return nullptr;
    arrow::ArrayVector columns = batch->columns();
    columns.pop_back();
    return arrow::RecordBatch::Make(schema(), batch->num_rows(), std::move(columns));
  }

  Status Aggregate() {
    const int num_shards = plan_.keys.empty() ? 1 : NumThreads();
    for (int i = 0; i < num_shards; ++i) {
      shards_.push_back(std::make_unique<Shard>(plan_, 0));
      GNOMON_RETURN_NOT_OK(shards_.back()->Prepare());
    }
    GNOMON_RETURN_NOT_OK(ReadInput());
    bool spilled = false;
    for (const auto& shard : shards_) spilled = spilled || shard->aside() != nullptr;
    std::vector<std::unique_ptr<BatchSource>> sources;
    for (const auto& shard : shards_) {
      if (spilled) {
        GNOMON_RETURN_NOT_OK(WriteGroups(shard.get()));
      } else {
        GNOMON_ASSIGN_OR_RETURN(auto groups, shard->TakeGroups());
        shard->AddStatsTo(stats());
        std::vector<BatchPtr> slices;
        for (int64_t row = 0; row < groups->num_rows(); row += batch_rows())
          slices.push_back(groups->Slice(row, batch_rows()));
        sources.push_back(std::make_unique<MemorySource>(std::move(slices)));
      }
    }
    if (spilled) {
      for (const auto& shard : shards_) GNOMON_RETURN_NOT_OK(AggregateAside(shard.get()));
      shards_.clear();
      GNOMON_ASSIGN_OR_RETURN(groups_, runs_->Merge(nullptr));
    } else if (sources.size() == 1) {
      groups_ = std::move(sources[0]);
    } else {
      groups_ = std::make_unique<RunMerger>(environment(), plan_.output, PositionEncoder(),
                                            std::move(sources), batch_rows());
    }
    return Status::OK();
  }

  /// As many batches at a time as there are threads: encoded side by side, then each shard takes
  /// its rows of all of them.
  Status ReadInput() {
    int64_t position = 0;
    MemoryReservation window(context().memory);
    for (bool ended = false; !ended;) {
      std::vector<BatchPtr> batches;
      window.Clear();
      while (!ended && batches.size() < shards_.size()) {
        GNOMON_ASSIGN_OR_RETURN(const auto batch, input_->Next());
        ended = batch == nullptr;
        if (ended) break;
        GNOMON_ASSIGN_OR_RETURN(const auto selected, batch->SelectColumns(columns_));
        GNOMON_ASSIGN_OR_RETURN(
            auto numbered,
            WithInt64Column(*selected, kPosition, Positions(position, batch->num_rows())));
        position += batch->num_rows();
        batches.push_back(std::move(numbered));
        GNOMON_ASSIGN_OR_RETURN(const int64_t bytes, BatchBytes(*batches.back()));
        if (!window.TryGrow(2 * bytes)) break;
      }
      std::vector<EncodedBatch> encoded(batches.size());
      GNOMON_RETURN_NOT_OK(
          ParallelFor(context(), static_cast<int64_t>(batches.size()), [&](int64_t i) -> Status {
            const auto place = static_cast<size_t>(i);
            GNOMON_ASSIGN_OR_RETURN(encoded[place], EncodeBatch(plan_, batches[place], 0));
            return Status::OK();
          }));
      const size_t count = shards_.size();
      GNOMON_RETURN_NOT_OK(
          ParallelFor(context(), static_cast<int64_t>(count), [&](int64_t i) -> Status {
            for (const EncodedBatch& batch : encoded) {
              GNOMON_RETURN_NOT_OK(
                  shards_[static_cast<size_t>(i)]->Consume(batch, static_cast<uint64_t>(i), count));
            }
            return Status::OK();
          }));
    }
    return Status::OK();
  }

  /// Writes the groups of a shard as a run, so that its memory is there for others.
  Status WriteGroups(Shard* shard) {
    {
      GNOMON_ASSIGN_OR_RETURN(auto groups, shard->TakeGroups());
      MemorySource source({std::move(groups)});
      GNOMON_RETURN_NOT_OK(runs_->Add(&source));
    }
    shard->FreeMemory();
    return shard->aside() == nullptr ? Status::OK() : shard->aside()->FlushAll();
  }

  /// Writes the groups of a shard's partitions as runs.
  Status AggregateAside(Shard* shard) {
    PartitionWriter* aside = shard->aside();
    for (int i = 0; aside != nullptr && i < kNumPartitions; ++i) {
      if (aside->rows(i) == 0) continue;
      Shard below(plan_, shard->level() + 1);
      GNOMON_RETURN_NOT_OK(below.Prepare());
      GNOMON_ASSIGN_OR_RETURN(const auto rows, aside->Read(i));
      while (true) {
        GNOMON_RETURN_NOT_OK(context().Check());
        GNOMON_ASSIGN_OR_RETURN(auto batch, rows->Next());
        if (batch == nullptr) break;
        GNOMON_ASSIGN_OR_RETURN(const auto encoded,
                                EncodeBatch(plan_, std::move(batch), below.level()));
        GNOMON_RETURN_NOT_OK(below.Consume(encoded, 0, 1));
      }
      GNOMON_RETURN_NOT_OK(WriteGroups(&below));
      GNOMON_RETURN_NOT_OK(AggregateAside(&below));
      aside->Drop(i);
    }
    shard->AddStatsTo(stats());
    return Status::OK();
  }

  const OperatorPtr input_;
  AggregatePlan plan_;
  std::vector<int> columns_;  ///< of the input
  std::vector<std::unique_ptr<Shard>> shards_;
  std::unique_ptr<RunStack> runs_;
  std::unique_ptr<BatchSource> groups_;
};

}  // namespace

Result<OperatorPtr> MakeAggregateOperator(const Environment& environment, const Plan& plan,
                                          OperatorPtr input, OperatorStats* stats) {
  auto aggregate = std::make_unique<AggregateOperator>(environment, plan, std::move(input), stats);
  GNOMON_RETURN_NOT_OK(aggregate->Prepare());
  return aggregate;
}

}  // namespace gnomon::dataset::internal
