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
#include "feature/engine/label_parts.h"
#include "feature/engine/row_partitions.h"
#include "feature/engine/view_source.h"
#include "pit/time_unit.h"
#include "pit/window.h"
#include "table/column.h"
#include "table/row_bytes.h"

namespace gnomon::feature {
namespace {

using pit::Nanos;

constexpr int64_t kMicro = 1000;  ///< nanoseconds
constexpr int64_t kMostPartitions = 1024;
constexpr int64_t kPartitionsOfUnknownSize = 64;
constexpr int64_t kPartitionBytes = int64_t{64} << 20;
/// Of an event while its partition is evaluated: times and created times, in order, with places.
constexpr int64_t kEvaluationBytes = 48;
/// Of a label while its part is evaluated: time, place, number, order.
constexpr int64_t kLabelBytes = 64;
constexpr int64_t kFewestLabels = 64;

/// What the labels of each key can reach.
class Reach {
 public:
  Reach(const dataset::AsOfLabels& labels, const dataset::AsOfLabels::Keys& keys,
        std::optional<int64_t> window)
      : unit_(labels.unit_nanos()), ranges_(static_cast<size_t>(keys.num_keys)) {
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

  static int64_t NumBytes(const dataset::AsOfLabels::Keys& keys) {
    return keys.num_keys * static_cast<int64_t>(sizeof(Range));
  }

 private:
  struct Range {
    int64_t oldest = std::numeric_limits<int64_t>::max();
    int64_t newest = std::numeric_limits<int64_t>::min();
  };

  const int64_t unit_;
  std::optional<Nanos> window_;
  std::vector<Range> ranges_;
};

/// The source as a whole is read first, then one partition evaluated after the other: the ids of a
/// partition are consecutive.
class PartitionedWindows : public WindowRetrieval {
 public:
  PartitionedWindows(const Context& context, const PlannedView& planned,
                     const dataset::AsOfLabels& labels, const RetrievalOptions& options)
      : context_(context),
        planned_(planned),
        labels_(labels),
        keys_(labels.KeysOf(planned.entity_columns)),
        options_(options),
        memory_(context.memory),
        columns_(ColumnsToRead(planned)),
        types_(columns_.size(), ValueType{ValueType::kInt64}) {}

  Status OpenSource(const Definitions& definitions, const OfflineStore& store,
                    const SharedSources& sources);
  ViewPass& pass() override { return *pass_; }
  const SourceReads& reads() const override { return reads_; }
  Result<std::unique_ptr<LabelValues>> Evaluate(int64_t block_rows, RetrievalStats* stats) override;

 private:
  Status BeginEvents(const ViewScan& scan);
  Status AddEvents(const ViewBatch& batch);
  Status FindSpecs();
  int32_t NumPartitions(const ViewScan& scan) const;
  int32_t PartitionOf(int32_t id) const {
    return static_cast<int32_t>(int64_t{id} * events_->num_partitions() / keys_.num_keys);
  }
  int64_t FirstId(int32_t partition) const {
    const int64_t count = events_->num_partitions();
    return (partition * keys_.num_keys + count - 1) / count;
  }
  /// Labels without a key are in the first partition.
  KeyPlace PlaceOf(int32_t id) const {
    if (id < 0) return {.partition = 0, .id = id};
    const int32_t partition = PartitionOf(id);
    return {.partition = partition, .id = static_cast<int32_t>(id - FirstId(partition))};
  }
  bool is_limited() const { return context_.memory != nullptr && context_.memory->limit() > 0; }
  int64_t AvailableBytes() const { return context_.memory->limit() - context_.memory->used(); }
  int64_t LabelBytes() const;
  int64_t MostLabels() const;

  /// The events of one partition, ready for the kernel. Ids count from the first of the partition.
  struct LoadedEvents {
    explicit LoadedEvents(MemoryBudget* budget) : memory(budget) {}
    MemoryReservation memory;
    std::vector<int32_t> ids;
    EventTimes times;
    arrow::ArrayVector columns;
    int64_t unit = kMicro;
  };
  Status LoadEvents(int32_t partition, LoadedEvents* events);
  Result<ViewArrays> Aggregate(const LoadedEvents& events, std::span<const int32_t> label_ids,
                               std::span<const int64_t> label_times);
  Result<std::unique_ptr<LabelValues>> EvaluateWhole(int64_t block_rows);
  Result<std::unique_ptr<LabelValues>> EvaluateParts(int64_t block_rows, RetrievalStats* stats);
  Status EvaluatePartition(int32_t partition, LabelParts* labels, LabelBlocks* values);

  const Context& context_;
  const PlannedView& planned_;
  const dataset::AsOfLabels& labels_;
  const dataset::AsOfLabels::Keys keys_;
  const RetrievalOptions& options_;
  MemoryReservation memory_;  ///< of reach_
  std::optional<Reach> reach_;
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
  int64_t wanted = kPartitionsOfUnknownSize;
  int64_t bytes = 0;
  for (int64_t i = 0; bytes >= 0 && i < source.table()->num_partitions(); ++i) {
    const int64_t more = source.table()->NumBytes(i, columns);
    bytes = more < 0 ? -1 : bytes + more + source.table()->num_rows(i) * kEvaluationBytes;
  }
  if (bytes >= 0) {
    const int64_t available = is_limited() ? AvailableBytes() : 8 * kPartitionBytes;
    wanted = bytes / std::clamp<int64_t>(available / 8, 1, kPartitionBytes) + 1;
  } else if (!is_limited()) {
    wanted = 1;
  }
  const int64_t most = std::clamp<int64_t>(keys_.num_keys, 1, kMostPartitions);
  return static_cast<int32_t>(std::clamp<int64_t>(wanted, 1, most));
}

Status PartitionedWindows::OpenSource(const Definitions& definitions, const OfflineStore& store,
                                      const SharedSources& sources) {
  const FeatureView& view = *planned_.view;
  GNOMON_RETURN_NOT_OK(memory_.Grow(Reach::NumBytes(keys_)));
  reach_.emplace(labels_, keys_, LongestWindow(planned_));
  const auto times = labels_.range().value_or(table::TimeRange{.min = 0, .max = 0});
  const SourceRange range = RangeToRead(planned_, times.min, times.max, options_);
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
    if (ids[i] >= 0 && reach_->Holds(ids[i], pit::ToNanos(times[i], source_->time_unit())))
      partitions[i] = PartitionOf(ids[i]);
  }
  arrow::ArrayVector columns = batch.EventColumns();
  columns.erase(columns.begin(), columns.begin() + static_cast<std::ptrdiff_t>(batch.keys.size()));
  columns.insert(columns.begin(), std::make_shared<arrow::Int32Array>(
                                      batch.num_rows, arrow::Buffer::FromVector(std::move(ids))));
  return events_->Add(NumberOfRow(batch.partition, batch.first_row), std::move(columns),
                      partitions);
}

Status PartitionedWindows::LoadEvents(int32_t partition, LoadedEvents* events) {
  GNOMON_ASSIGN_OR_RETURN(const auto batch, events_->Take(partition, &events->memory));
  GNOMON_RETURN_NOT_OK(events->memory.Grow(batch->num_rows() * int64_t{has_created_ ? 20 : 12}));
  EventTimes& times = events->times;
  GNOMON_ASSIGN_OR_RETURN(
      times, EventTimesOf(*batch->column(1), has_created_ ? batch->column(2).get() : nullptr));
  // Windows are given in microseconds, so coarser event times move up to them; finer ones stay.
  events->unit = std::min(times.unit_nanos, kMicro);
  if (!pit::RefineUnit(&times.times, times.unit_nanos, events->unit) ||
      !pit::RefineUnit(&times.created, times.unit_nanos, events->unit)) {
    return Error(
        ErrorKind::kUser, "feature view ", Quoted(planned_.view->name),
        " has event times that microseconds cannot hold, so its windows cannot be evaluated");
  }
  events->ids.resize(static_cast<size_t>(batch->num_rows()));
  const auto& ids = static_cast<const arrow::Int32Array&>(*batch->column(0));
  for (size_t i = 0; i < events->ids.size(); ++i) {
    events->ids[i] = static_cast<int32_t>(ids.Value(static_cast<int64_t>(i)) - FirstId(partition));
  }
  const int first_value = has_created_ ? 3 : 2;
  for (size_t i = 0; i < types_.size(); ++i) {
    GNOMON_ASSIGN_OR_RETURN(
        auto column, CastSourceColumn(*planned_.view, columns_[i],
                                      batch->column(first_value + static_cast<int>(i)), types_[i]));
    events->columns.push_back(std::move(column));
  }
  return Status::OK();
}

Result<ViewArrays> PartitionedWindows::Aggregate(const LoadedEvents& events,
                                                 std::span<const int32_t> label_ids,
                                                 std::span<const int64_t> label_times) {
  std::vector<pit::AggregateSpec> specs = specs_;
  for (pit::AggregateSpec& spec : specs) {
    spec.ticks_per_micro = kMicro / events.unit;
    if (spec.window)
      spec.window = pit::FloorToUnit(pit::ToNanos(*spec.window, kMicro), events.unit);
  }
  std::vector<int64_t> at(label_times.begin(), label_times.end());
  if (labels_.unit_nanos() != events.unit) {
    for (int64_t& time : at)
      time = pit::FloorToUnit(pit::ToNanos(time, labels_.unit_nanos()), events.unit);
  }
  GNOMON_ASSIGN_OR_RETURN(
      ViewArrays columns,
      pit::AggregateWindows(context_,
                            {.ids = events.ids,
                             .times = events.times.times,
                             .created = events.times.created,
                             .columns = events.columns},
                            label_ids, at, specs, options_.filter_by_created_timestamp));
  for (size_t i = 0; i < columns.size(); ++i) {
    GNOMON_ASSIGN_OR_RETURN(columns[i],
                            table::CastLossless(columns[i], planned_.features[i]->dtype.ToArrow()));
  }
  return columns;
}

/// Everything at once, in the order of the labels: nothing is copied.
Result<std::unique_ptr<LabelValues>> PartitionedWindows::EvaluateWhole(int64_t block_rows) {
  LoadedEvents events(context_.memory);
  GNOMON_RETURN_NOT_OK(LoadEvents(0, &events));
  GNOMON_ASSIGN_OR_RETURN(auto columns, Aggregate(events, keys_.ids, labels_.times()));
  return MakeWholeValues(std::move(columns), block_rows);
}

/// Of a label whose part is evaluated, with the values before and after they are put in order.
int64_t PartitionedWindows::LabelBytes() const {
  int64_t bytes = kLabelBytes;
  for (const Field* field : planned_.features)
    bytes += 2 * table::GuessValueBytes(*field->dtype.ToArrow());
  return bytes;
}

int64_t PartitionedWindows::MostLabels() const {
  if (!is_limited()) return std::max<int64_t>(1, labels_.num_rows());
  return std::max(AvailableBytes() / (8 * LabelBytes()), kFewestLabels);
}

Status PartitionedWindows::EvaluatePartition(int32_t partition, LabelParts* labels,
                                             LabelBlocks* values) {
  const auto [first, last] = labels->PartsOf(partition);
  if (first == last) return Status::OK();
  LoadedEvents events(context_.memory);
  GNOMON_RETURN_NOT_OK(LoadEvents(partition, &events));
  for (int32_t number = first; number < last; ++number) {
    GNOMON_RETURN_NOT_OK(context_.Check());
    MemoryReservation memory(context_.memory);
    GNOMON_ASSIGN_OR_RETURN(const LabelParts::Part part, labels->Take(number, &memory));
    const int64_t wanted = static_cast<int64_t>(part.ids.size()) * LabelBytes();
    GNOMON_RETURN_NOT_OK(memory.Grow(std::max<int64_t>(0, wanted - memory.bytes())));
    GNOMON_ASSIGN_OR_RETURN(auto columns, Aggregate(events, part.ids, part.times));
    GNOMON_RETURN_NOT_OK(values->Add(part.numbers, std::move(columns)));
  }
  return Status::OK();
}

Result<std::unique_ptr<LabelValues>> PartitionedWindows::EvaluateParts(int64_t block_rows,
                                                                       RetrievalStats* stats) {
  const std::string& folder = options_.join.spill_folder;
  GNOMON_ASSIGN_OR_RETURN(LabelParts labels,
                          LabelParts::Make(
                              context_, keys_.ids, labels_.times(), events_->num_partitions(),
                              [this](int32_t id) { return PlaceOf(id); }, MostLabels(), folder));
  arrow::FieldVector fields;
  for (const Field* field : planned_.features)
    fields.push_back(arrow::field(field->name, field->dtype.ToArrow()));
  auto values = std::make_unique<LabelBlocks>(context_, arrow::Schema(std::move(fields)),
                                              labels_.num_rows(), block_rows, folder);
  for (int32_t partition = 0; partition < events_->num_partitions(); ++partition)
    GNOMON_RETURN_NOT_OK(EvaluatePartition(partition, &labels, values.get()));
  GNOMON_RETURN_NOT_OK(values->Finish());
  stats->spilled_bytes += labels.spilled_bytes() + values->spilled_bytes();
  return values;
}

Result<std::unique_ptr<LabelValues>> PartitionedWindows::Evaluate(int64_t block_rows,
                                                                  RetrievalStats* stats) {
  const auto run = [&]() -> Result<std::unique_ptr<LabelValues>> {
    GNOMON_RETURN_NOT_OK(events_->Finish());
    stats->spilled_bytes += events_->spilled_bytes();
    if (!is_limited() && events_->num_partitions() == 1) return EvaluateWhole(block_rows);
    return EvaluateParts(block_rows, stats);
  };
  auto values = run();
  events_.reset();
  if (!values.ok()) return source_->WithoutMemory(values.status());
  return values;
}

}  // namespace

Result<std::unique_ptr<WindowRetrieval>> WindowRetrieval::Open(
    const Context& context, const FeaturePlan& plan, const PlannedView& planned,
    const dataset::AsOfLabels& labels, const OfflineStore& store, const SharedSources& sources,
    const RetrievalOptions& options) {
  auto windows = std::make_unique<PartitionedWindows>(context, planned, labels, options);
  GNOMON_RETURN_NOT_OK(windows->OpenSource(*plan.definitions, store, sources));
  return windows;
}

}  // namespace gnomon::feature
