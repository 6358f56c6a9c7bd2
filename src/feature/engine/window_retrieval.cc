#include "feature/engine/window_retrieval.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/memory.h"
#include "base/memory_reservation.h"
#include "base/text.h"
#include "feature/engine/event_times.h"
#include "feature/engine/row_partitions.h"
#include "feature/engine/view_source.h"
#include "pit/time_unit.h"
#include "pit/window.h"
#include "table/column.h"

namespace gnomon::feature {
namespace {

using pit::Nanos;

constexpr int64_t kMicro = 1000;  ///< nanoseconds
constexpr int64_t kMostPartitions = 1024;
constexpr int64_t kPartitionsOfUnknownSize = 64;
constexpr int64_t kPartitionBytes = int64_t{64} << 20;
/// Of an event while its partition is evaluated: times and created times, in order, with places.
constexpr int64_t kEvaluationBytes = 48;

/// What the labels of each key can reach.
class Reach {
 public:
  Reach(const Labels& labels, const Labels::Keys& keys, std::optional<int64_t> window)
      : unit_(labels.unit_nanos()), ranges_(NumKeys(keys)) {
    if (window) window_ = pit::ToNanos(*window, kMicro);
    for (size_t i = 0; i < keys.ids.size(); ++i) {
      if (keys.ids[i] < 0) continue;
      Range& range = ranges_[static_cast<size_t>(keys.ids[i])];
      range.oldest = std::min(range.oldest, labels.times()[i]);
      range.newest = std::max(range.newest, labels.times()[i]);
    }
  }

  bool Holds(int32_t id, Nanos time) const {
    const Range& range = ranges_[static_cast<size_t>(id)];
    return time <= pit::ToNanos(range.newest, unit_) &&
           (!window_ || time > pit::ToNanos(range.oldest, unit_) - *window_);
  }

  int64_t num_keys() const { return static_cast<int64_t>(ranges_.size()); }

 private:
  struct Range {
    int64_t oldest = std::numeric_limits<int64_t>::max();
    int64_t newest = std::numeric_limits<int64_t>::min();
  };
  static size_t NumKeys(const Labels::Keys& keys) {
    return keys.index == nullptr ? 1 : static_cast<size_t>(keys.index->size());
  }

  const int64_t unit_;
  std::optional<Nanos> window_;
  std::vector<Range> ranges_;
};

/// The source as a whole is read first, then one partition evaluated after the other: the ids of a
/// partition are consecutive.
class PartitionedWindows : public WindowRetrieval {
 public:
  PartitionedWindows(const Context& context, const PlannedView& planned, const Labels& labels,
                     const RetrievalOptions& options)
      : context_(context),
        planned_(planned),
        labels_(labels),
        keys_(labels.KeysOf(planned)),
        options_(options),
        reach_(labels, keys_, planned.view->LongestWindow()),
        columns_(ColumnsToRead(planned)),
        types_(columns_.size(), ValueType{ValueType::kInt64}) {}

  Status OpenSource(const Definitions& definitions, const OfflineStore& store,
                    const SharedSources& sources);
  ViewPass& pass() override { return *pass_; }
  const SourceReads& reads() const override { return reads_; }
  Result<ViewArrays> Evaluate(RetrievalStats* stats) override;

 private:
  Status BeginEvents(const ViewScan& scan);
  Status AddEvents(const ViewBatch& batch);
  Status FindSpecs();
  int32_t NumPartitions(const ViewScan& scan) const;
  int32_t PartitionOf(int32_t id) const {
    return static_cast<int32_t>(int64_t{id} * events_->num_partitions() / reach_.num_keys());
  }
  int64_t FirstId(int32_t partition) const {
    const int64_t count = events_->num_partitions();
    return (partition * reach_.num_keys() + count - 1) / count;
  }
  struct LabelPart {
    std::vector<int32_t> ids;
    std::vector<int64_t> times;
    std::vector<int64_t> rows;
  };
  std::vector<LabelPart> PartLabels() const;
  /// Ids count from the first of the partition.
  Result<ViewArrays> EvaluatePartition(int32_t partition, std::span<const int32_t> label_ids,
                                       std::span<const int64_t> label_times);
  Result<ViewArrays> EvaluateAll();

  const Context& context_;
  const PlannedView& planned_;
  const Labels& labels_;
  const Labels::Keys& keys_;
  const RetrievalOptions& options_;
  const Reach reach_;
  std::vector<std::string> columns_;  ///< that are aggregated
  std::vector<ValueType> types_;      ///< of them
  std::vector<pit::AggregateSpec> specs_;
  bool has_created_ = false;
  SourceReads reads_;
  std::optional<ViewSource> source_;
  std::optional<ViewPass> pass_;
  std::unique_ptr<RowPartitions> events_;  ///< key ids, event times, created times, values
};

Status PartitionedWindows::FindSpecs() {
  for (const Field* field : planned_.features) {
    const auto aggregation =
        std::ranges::find(planned_.view->aggregations, field->name, &Aggregation::name);
    if (aggregation == planned_.view->aggregations.end())
      return Error(ErrorKind::kInternal, "feature ", Quoted(field->name), " has no aggregation");
    const auto place = std::ranges::find(columns_, aggregation->column) - columns_.begin();
    types_[static_cast<size_t>(place)] = aggregation->column_type;
    GNOMON_ASSIGN_OR_RETURN(pit::AggregateSpec spec, AggregateSpecOf(*aggregation));
    spec.column = static_cast<int>(place);
    specs_.push_back(std::move(spec));
  }
  return Status::OK();
}

/// So many that one partition is evaluated in little memory, in caches too where there is enough.
int32_t PartitionedWindows::NumPartitions(const ViewScan& scan) const {
  const ViewSource& source = *source_;
  std::vector<int> columns = scan.values;
  columns.push_back(source.time());
  if (source.created() >= 0) columns.push_back(source.created());
  const bool limited = context_.memory != nullptr && context_.memory->limit() > 0;
  int64_t wanted = kPartitionsOfUnknownSize;
  int64_t bytes = 0;
  for (int64_t i = 0; bytes >= 0 && i < source.table()->num_partitions(); ++i) {
    const int64_t more = source.table()->NumBytes(i, columns);
    bytes = more < 0 ? -1 : bytes + more + source.table()->num_rows(i) * kEvaluationBytes;
  }
  if (bytes >= 0) {
    const int64_t available =
        limited ? context_.memory->limit() - context_.memory->used() : 8 * kPartitionBytes;
    wanted = bytes / std::clamp<int64_t>(available / 8, 1, kPartitionBytes) + 1;
  } else if (!limited) {
    wanted = 1;
  }
  const int64_t most = std::clamp<int64_t>(reach_.num_keys(), 1, kMostPartitions);
  return static_cast<int32_t>(std::clamp<int64_t>(wanted, 1, most));
}

Status PartitionedWindows::OpenSource(const Definitions& definitions, const OfflineStore& store,
                                      const SharedSources& sources) {
  const FeatureView& view = *planned_.view;
  const SourceRange range =
      RangeToRead(planned_, labels_.min_micros(), labels_.max_micros(), options_);
  GNOMON_ASSIGN_OR_RETURN(ViewSource source,
                          ViewSource::Open(context_, definitions, view, store, columns_, range,
                                           &reads_, sources.TableOf(view)));
  source_ = std::move(source);
  GNOMON_RETURN_NOT_OK(FindSpecs());
  ViewScan scan = ScanOf(range);
  GNOMON_ASSIGN_OR_RETURN(scan.values, source_->Columns(columns_));
  has_created_ = source_->created() >= 0;
  pass_.emplace(
      context_, *source_, scan,
      [this](const ViewBatch& batch) { return source_->WithoutMemory(AddEvents(batch)); },
      [this, scan] { return BeginEvents(scan); });
  return Status::OK();
}

/// Makes room for the events. How they are cut up depends on the memory that is left now.
Status PartitionedWindows::BeginEvents(const ViewScan& scan) {
  events_.reset();
  auto schema = source_->EventSchema(scan.values);
  for (size_t key = 0; key < source_->keys().size(); ++key) {
    GNOMON_ASSIGN_OR_RETURN(schema, schema->RemoveField(0));
  }
  GNOMON_ASSIGN_OR_RETURN(schema, schema->AddField(0, arrow::field("id", arrow::int32())));
  events_ = std::make_unique<RowPartitions>(context_, std::move(schema), NumPartitions(scan),
                                            options_.join.spill_folder);
  return Status::OK();
}

Status PartitionedWindows::AddEvents(const ViewBatch& batch) {
  const auto num_rows = static_cast<size_t>(batch.num_rows);
  auto id_buffer = std::make_shared<std::vector<int32_t>>(num_rows, 0);
  std::vector<int32_t>& ids = *id_buffer;
  if (keys_.index != nullptr) {
    GNOMON_RETURN_NOT_OK(
        WithContext(keys_.index->Find(batch.keys, ids),
                    Concat("join keys ", Join(planned_.entity_columns, ", "),
                           " of the entity rows and feature view ", Quoted(planned_.view->name))));
  }
  GNOMON_ASSIGN_OR_RETURN(const auto times, table::RawTimes(*batch.times));
  std::vector<int32_t> partitions(num_rows, -1);
  for (size_t i = 0; i < num_rows; ++i) {
    if (ids[i] >= 0 && reach_.Holds(ids[i], pit::ToNanos(times[i], source_->time_unit())))
      partitions[i] = PartitionOf(ids[i]);
  }
  arrow::ArrayVector columns = batch.EventColumns();
  columns.erase(columns.begin(), columns.begin() + static_cast<std::ptrdiff_t>(batch.keys.size()));
  columns.insert(columns.begin(), std::make_shared<arrow::Int32Array>(
                                      batch.num_rows, arrow::Buffer::FromVector(std::move(ids))));
  return events_->Add(NumberOfRow(batch.partition, batch.first_row), std::move(columns),
                      partitions);
}

/// The labels of each partition; those without a key in the first.
std::vector<PartitionedWindows::LabelPart> PartitionedWindows::PartLabels() const {
  std::vector<LabelPart> parts(static_cast<size_t>(events_->num_partitions()));
  for (size_t row = 0; row < keys_.ids.size(); ++row) {
    const int32_t id = keys_.ids[row];
    const int32_t partition = id < 0 ? 0 : PartitionOf(id);
    LabelPart& part = parts[static_cast<size_t>(partition)];
    part.ids.push_back(id < 0 ? id : static_cast<int32_t>(id - FirstId(partition)));
    part.times.push_back(labels_.times()[row]);
    part.rows.push_back(static_cast<int64_t>(row));
  }
  return parts;
}

Result<ViewArrays> PartitionedWindows::EvaluatePartition(int32_t partition,
                                                         std::span<const int32_t> label_ids,
                                                         std::span<const int64_t> label_times) {
  MemoryReservation memory(context_.memory);
  GNOMON_ASSIGN_OR_RETURN(const auto batch, events_->Take(partition, &memory));
  GNOMON_RETURN_NOT_OK(memory.Grow(batch->num_rows() * int64_t{has_created_ ? 20 : 12}));
  GNOMON_ASSIGN_OR_RETURN(
      EventTimes times,
      EventTimesOf(*batch->column(1), has_created_ ? batch->column(2).get() : nullptr));
  // Windows are given in microseconds, so coarser event times move up to them; finer ones stay.
  const int64_t unit = std::min(times.unit_nanos, kMicro);
  if (!pit::RefineUnit(&times.times, times.unit_nanos, unit) ||
      !pit::RefineUnit(&times.created, times.unit_nanos, unit)) {
    return Error(
        ErrorKind::kUser, "feature view ", Quoted(planned_.view->name),
        " has event times that microseconds cannot hold, so its windows cannot be evaluated");
  }
  std::vector<int32_t> ids(static_cast<size_t>(batch->num_rows()));
  const auto& id_column = static_cast<const arrow::Int32Array&>(*batch->column(0));
  for (size_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<int32_t>(id_column.Value(static_cast<int64_t>(i)) - FirstId(partition));
  }
  pit::Events events{.ids = ids, .times = times.times, .created = times.created, .columns = {}};
  const int first_value = has_created_ ? 3 : 2;
  for (size_t i = 0; i < types_.size(); ++i) {
    GNOMON_ASSIGN_OR_RETURN(
        auto column, CastSourceColumn(*planned_.view, columns_[i],
                                      batch->column(first_value + static_cast<int>(i)), types_[i]));
    events.columns.push_back(std::move(column));
  }
  std::vector<pit::AggregateSpec> specs = specs_;
  for (pit::AggregateSpec& spec : specs) {
    spec.ticks_per_micro = kMicro / unit;
    if (spec.window) spec.window = pit::FloorToUnit(pit::ToNanos(*spec.window, kMicro), unit);
  }
  std::vector<int64_t> at(label_times.begin(), label_times.end());
  if (labels_.unit_nanos() != unit) {
    for (int64_t& time : at)
      time = pit::FloorToUnit(pit::ToNanos(time, labels_.unit_nanos()), unit);
  }
  return pit::AggregateWindows(context_, events, label_ids, at, specs,
                               options_.filter_by_created_timestamp);
}

Result<ViewArrays> PartitionedWindows::EvaluateAll() {
  ViewArrays columns;
  if (events_->num_partitions() == 1) {
    GNOMON_ASSIGN_OR_RETURN(columns, EvaluatePartition(0, keys_.ids, labels_.times()));
  } else {
    std::vector<arrow::ArrayVector> pieces(specs_.size());
    std::vector<int64_t> places(keys_.ids.size());  // of each label in the pieces
    const std::vector<LabelPart> parts = PartLabels();
    int64_t place = 0;
    for (size_t partition = 0; partition < parts.size(); ++partition) {
      GNOMON_RETURN_NOT_OK(context_.Check());
      const LabelPart& part = parts[partition];
      if (part.rows.empty()) continue;
      GNOMON_ASSIGN_OR_RETURN(
          auto values, EvaluatePartition(static_cast<int32_t>(partition), part.ids, part.times));
      for (size_t i = 0; i < values.size(); ++i) pieces[i].push_back(std::move(values[i]));
      for (const int64_t row : part.rows) places[static_cast<size_t>(row)] = place++;
    }
    for (arrow::ArrayVector& of_column : pieces) {
      if (of_column.empty()) return EvaluatePartition(0, {}, {});
      GNOMON_ASSIGN_OR_RETURN(auto column,
                              table::Gather(arrow::ChunkedArray(std::move(of_column)), places));
      columns.push_back(std::move(column));
    }
  }
  for (size_t i = 0; i < columns.size(); ++i) {
    GNOMON_ASSIGN_OR_RETURN(columns[i],
                            table::CastLossless(columns[i], planned_.features[i]->dtype.ToArrow()));
  }
  return columns;
}

Result<ViewArrays> PartitionedWindows::Evaluate(RetrievalStats* stats) {
  const auto run = [&]() -> Result<ViewArrays> {
    GNOMON_RETURN_NOT_OK(events_->Finish());
    stats->spilled_bytes += events_->spilled_bytes();
    return EvaluateAll();
  };
  auto columns = run();
  events_.reset();
  if (!columns.ok()) return source_->WithoutMemory(columns.status());
  return columns;
}

}  // namespace

Result<std::unique_ptr<WindowRetrieval>> WindowRetrieval::Open(
    const Context& context, const FeaturePlan& plan, const PlannedView& planned,
    const Labels& labels, const OfflineStore& store, const SharedSources& sources,
    const RetrievalOptions& options) {
  auto windows = std::make_unique<PartitionedWindows>(context, planned, labels, options);
  GNOMON_RETURN_NOT_OK(windows->OpenSource(*plan.definitions, store, sources));
  return windows;
}

}  // namespace gnomon::feature
