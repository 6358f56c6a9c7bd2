#include "feature/engine/online_sink.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/mutex.h"
#include "base/progress.h"
#include "base/text.h"
#include "feature/engine/latest_materialization.h"
#include "feature/engine/latest_rows.h"
#include "feature/engine/online_writing.h"
#include "feature/engine/window_events.h"
#include "feature/engine/window_materialization.h"
#include "feature/online/entity_key.h"
#include "feature/online/online_access.h"
#include "feature/online/online_reader.h"
#include "gnomon/online_sink.pb.h"
#include "pit/time_unit.h"
#include "table/column.h"

namespace gnomon::feature {
namespace {

using BatchPtr = std::shared_ptr<arrow::RecordBatch>;

constexpr const char* kAccess = "online_store";
constexpr int64_t kNone = std::numeric_limits<int64_t>::min();

void WriteField(const std::string& name, const ValueType& type, proto::OnlineField* out) {
  out->set_name(name);
  out->set_type(type.ToString());
}

void WriteAggregation(const Aggregation& aggregation, proto::OnlineAggregation* out) {
  out->set_column(aggregation.column);
  out->set_column_type(aggregation.column_type.ToString());
  out->set_function(pit::NameOf(aggregation.function));
  out->set_custom(aggregation.custom.name);
  if (aggregation.time_window) out->set_time_window(*aggregation.time_window);
  if (aggregation.slide_interval) out->set_slide_interval(*aggregation.slide_interval);
  out->set_name(aggregation.name);
  out->set_k(aggregation.k);
  out->set_quantile(aggregation.quantile);
  out->set_ddof(aggregation.ddof);
}

Result<Aggregation> ReadAggregation(const proto::OnlineAggregation& in,
                                    const PluginAggregates& aggregates) {
  Aggregation aggregation;
  aggregation.column = in.column();
  GNOMON_ASSIGN_OR_RETURN(aggregation.column_type, ValueType::Parse(in.column_type()));
  aggregation.name = in.name();
  if (in.has_time_window()) aggregation.time_window = in.time_window();
  if (in.has_slide_interval()) aggregation.slide_interval = in.slide_interval();
  aggregation.k = in.k();
  aggregation.quantile = in.quantile();
  aggregation.ddof = in.ddof();
  if (in.custom().empty()) {
    GNOMON_ASSIGN_OR_RETURN(aggregation.function, pit::ParseAggregateFunction(in.function()));
    return aggregation;
  }
  const auto known = aggregates.find(in.custom());
  if (known == aggregates.end()) {
    return Error(ErrorKind::kNotFound, "no such aggregate of a plug-in: ", Quoted(in.custom()));
  }
  aggregation.function = pit::AggregateFunction::kCustom;
  aggregation.custom = {.name = in.custom(), .library = {}, .code = known->second};
  return aggregation;
}

Result<FeatureView> ReadView(const proto::OnlineSink& in, const PluginAggregates& aggregates) {
  FeatureView view;
  view.name = in.view();
  view.source = in.source();
  if (view.source.empty()) view.source_views = {std::string()};
  for (const auto& feature : in.features()) {
    GNOMON_ASSIGN_OR_RETURN(const ValueType type, ValueType::Parse(feature.type()));
    view.schema.push_back({.name = feature.name(), .dtype = type, .description = {}, .tags = {}});
  }
  for (const auto& aggregation : in.aggregations()) {
    GNOMON_ASSIGN_OR_RETURN(view.aggregations.emplace_back(),
                            ReadAggregation(aggregation, aggregates));
  }
  return view;
}

Result<EntityKeyEncoder> ReadKeys(const proto::OnlineSink& in) {
  std::vector<std::string> names;
  std::vector<ValueType> types;
  for (const auto& key : in.join_keys()) {
    names.push_back(key.name());
    GNOMON_ASSIGN_OR_RETURN(types.emplace_back(), ValueType::Parse(key.type()));
  }
  return EntityKeyEncoder::Make(std::move(names), std::move(types));
}

/// One attempt of one partition.
class PartitionWrite {
 public:
  PartitionWrite(const Context& context, const proto::OnlineSink& message, FeatureView view,
                 EntityKeyEncoder encoder, dataset::BatchSource& rows)
      : context_(context),
        message_(message),
        view_(std::move(view)),
        encoder_(std::move(encoder)),
        rows_(rows) {}

  Result<std::string> Run(OnlineStore& online) {
    GNOMON_ASSIGN_OR_RETURN(const OnlineTable table, OnlineTableOf(message_.project(), view_));
    MaterializationOptions options;
    options.rows_per_commit = message_.rows_per_commit();
    FailedRows failed;
    ProgressPhase phase(nullptr, "materialize");
    NextOnlineBlock next = [this] { return NextLatest(); };
    if (view_.is_window()) {
      GNOMON_RETURN_NOT_OK(ReadEvents(table));
      // Nothing has come.
      next = [this]() -> Result<std::optional<OnlineBlock>> {
        if (events_ == nullptr) return std::nullopt;
        return events_->NextBlock();
      };
    }
    GNOMON_ASSIGN_OR_RETURN(const int64_t rows, WriteOnline(context_, online, table, message_.end(),
                                                            0, next, options, &failed, &phase));
    token_.set_rows(rows);
    token_.set_written(true);
    if (failed.count() > 0) {
      token_.set_failed_rows(failed.count());
      for (const std::string& example : failed.examples()) token_.add_examples(example);
      token_.set_error_kind(static_cast<int32_t>(KindOf(failed.first())));
      token_.set_hint(HintOf(failed.first()));
    }
    return token_.SerializeAsString();
  }

 private:
  Result<std::shared_ptr<arrow::Array>> Column(const arrow::RecordBatch& batch,
                                               const std::string& name) const {
    auto column = batch.GetColumnByName(name);
    if (column != nullptr) return column;
    return Error(ErrorKind::kInternal, "rows without column ", Quoted(name));
  }

  Result<arrow::ArrayVector> KeysOf(const arrow::RecordBatch& batch) const {
    arrow::ArrayVector keys;
    for (const auto& key : message_.join_keys()) {
      GNOMON_ASSIGN_OR_RETURN(keys.emplace_back(), Column(batch, key.name()));
    }
    return keys;
  }

  Result<int64_t> SumOf(const arrow::RecordBatch& batch, const std::string& name) const {
    GNOMON_ASSIGN_OR_RETURN(const auto column, Column(batch, name));
    int64_t sum = 0;
    const auto& numbers = static_cast<const arrow::Int64Array&>(*column);
    for (int64_t row = 0; row < numbers.length(); ++row) sum += numbers.Value(row);
    return sum;
  }

  Result<std::optional<OnlineBlock>> NextLatest() {
    while (true) {
      GNOMON_RETURN_NOT_OK(context_.Check());
      GNOMON_ASSIGN_OR_RETURN(const BatchPtr batch, rows_.Next());
      if (batch == nullptr) return std::nullopt;
      GNOMON_ASSIGN_OR_RETURN(const int64_t rows, SumOf(*batch, message_.source_rows()));
      GNOMON_ASSIGN_OR_RETURN(const int64_t skipped, SumOf(*batch, message_.skipped_rows()));
      token_.set_source_rows(token_.source_rows() + rows);
      token_.set_skipped_rows(token_.skipped_rows() + skipped);
      GNOMON_ASSIGN_OR_RETURN(const LatestRows latest, LatestOf(*batch));
      if (latest.event_times.empty()) continue;
      OnlineBlock block;
      const auto place_of = [this](int64_t /*row*/) {
        return view_.is_derived() ? Concat("a row of feature view ", Quoted(view_.name))
                                  : Concat("a row of data source ", Quoted(view_.source));
      };
      GNOMON_RETURN_NOT_OK(FillBlock(view_, encoder_, latest, place_of, &block));
      return block;
    }
  }

  /// The rows that have a key and a time.
  Result<LatestRows> LatestOf(const arrow::RecordBatch& batch) const {
    GNOMON_ASSIGN_OR_RETURN(const auto keys, KeysOf(batch));
    GNOMON_ASSIGN_OR_RETURN(const auto times, Column(batch, message_.time()));
    std::vector<int64_t> kept;
    for (int64_t row = 0; row < batch.num_rows(); ++row) {
      const auto is_null = [&](const auto& column) { return column->IsNull(row); };
      if (!is_null(times) && std::ranges::none_of(keys, is_null)) kept.push_back(row);
    }
    LatestRows latest;
    GNOMON_ASSIGN_OR_RETURN(const auto raw, table::RawTimes(*times));
    const int64_t unit = table::UnitNanos(*times->type());
    for (const int64_t row : kept)
      latest.event_times.push_back(EventMicros(raw[static_cast<size_t>(row)], unit));
    latest.created_times.assign(kept.size(), kNone);
    if (!message_.created().empty()) {
      GNOMON_ASSIGN_OR_RETURN(const auto created, Column(batch, message_.created()));
      GNOMON_ASSIGN_OR_RETURN(const auto raw_created, table::RawTimes(*created));
      const int64_t created_unit = table::UnitNanos(*created->type());
      for (size_t i = 0; i < kept.size(); ++i) {
        if (created->IsNull(kept[i])) continue;
        latest.created_times[i] =
            CreatedMicros(raw_created[static_cast<size_t>(kept[i])], created_unit);
      }
    }
    arrow::ArrayVector features;
    for (const Field& field : view_.schema) {
      GNOMON_ASSIGN_OR_RETURN(features.emplace_back(), Column(batch, field.name));
    }
    GNOMON_ASSIGN_OR_RETURN(latest.keys, OnlyRows(keys, kept));
    GNOMON_ASSIGN_OR_RETURN(latest.features, OnlyRows(features, kept));
    return latest;
  }

  /// All events of the windows.
  Status ReadEvents(const OnlineTable& table) {
    for (int64_t position = 0;; ++position) {
      GNOMON_RETURN_NOT_OK(context_.Check());
      GNOMON_ASSIGN_OR_RETURN(const BatchPtr batch, rows_.Next());
      if (batch == nullptr) break;
      if (events_ == nullptr) GNOMON_RETURN_NOT_OK(BeginEvents(table, *batch));
      GNOMON_RETURN_NOT_OK(AddEvents(position, *batch));
    }
    if (events_ == nullptr) return Status::OK();
    GNOMON_RETURN_NOT_OK(events_->Finish());
    token_.set_skipped_rows(token_.skipped_rows() + events_->null_keys());
    token_.set_spilled_bytes(events_->spilled_bytes());
    return Status::OK();
  }

  Result<arrow::ArrayVector> EventColumns(const arrow::RecordBatch& batch) const {
    GNOMON_ASSIGN_OR_RETURN(arrow::ArrayVector columns, KeysOf(batch));
    GNOMON_ASSIGN_OR_RETURN(columns.emplace_back(), Column(batch, message_.time()));
    if (!message_.created().empty()) {
      GNOMON_ASSIGN_OR_RETURN(columns.emplace_back(), Column(batch, message_.created()));
    }
    for (const std::string& name : AggregatedColumns(view_)) {
      GNOMON_ASSIGN_OR_RETURN(columns.emplace_back(), Column(batch, name));
    }
    return columns;
  }

  Status BeginEvents(const OnlineTable& table, const arrow::RecordBatch& batch) {
    GNOMON_ASSIGN_OR_RETURN(const auto columns, EventColumns(batch));
    arrow::FieldVector fields;
    for (const auto& column : columns)
      fields.push_back(arrow::field(std::to_string(fields.size()), column->type()));
    EventShape shape{.schema = arrow::schema(std::move(fields)),
                     .num_keys = static_cast<size_t>(message_.join_keys_size()),
                     .has_created = !message_.created().empty()};
    return WindowEvents::Make(context_, table, view_, encoder_, std::move(shape),
                              kPartitionsOfUnknownSize, message_.value_count_bytes())
        .Value(&events_);
  }

  Status AddEvents(int64_t position, const arrow::RecordBatch& batch) {
    GNOMON_ASSIGN_OR_RETURN(const auto columns, EventColumns(batch));
    const arrow::Array& times = *columns[static_cast<size_t>(message_.join_keys_size())];
    GNOMON_ASSIGN_OR_RETURN(const auto raw, table::RawTimes(times));
    const int64_t unit = table::UnitNanos(*times.type());
    const auto first = BeginOfWindows(view_, message_.end());
    const pit::Nanos last = EndOfWindows(message_.end());
    std::vector<int64_t> kept;
    for (int64_t row = 0; row < batch.num_rows(); ++row) {
      if (times.IsNull(row)) continue;
      const pit::Nanos time = pit::ToNanos(raw[static_cast<size_t>(row)], unit);
      if ((!first || time >= *first) && time <= last) kept.push_back(row);
    }
    token_.set_skipped_rows(token_.skipped_rows() + times.null_count());
    token_.set_source_rows(token_.source_rows() + static_cast<int64_t>(kept.size()));
    GNOMON_ASSIGN_OR_RETURN(auto events, OnlyRows(columns, kept));
    return kept.empty() ? Status::OK() : events_->Add(position, std::move(events));
  }

  const Context& context_;
  const proto::OnlineSink& message_;
  const FeatureView view_;
  const EntityKeyEncoder encoder_;
  dataset::BatchSource& rows_;
  std::unique_ptr<WindowEvents> events_;
  proto::OnlineSinkToken token_;
};

class OnlineSink : public dataset::ExternalSink {
 public:
  OnlineSink(OpenedStore store, PluginAggregates aggregates)
      : store_(std::move(store)), aggregates_(std::move(aggregates)) {}

  Result<std::string> Write(const Context& context, const std::string& parameters,
                            dataset::BatchSource& rows) const override {
    proto::OnlineSink message;
    if (!message.ParseFromString(parameters))
      return Error(ErrorKind::kDataLoss, "not the parameters of an online store");
    GNOMON_ASSIGN_OR_RETURN(OnlineStore* const online, store_());
    GNOMON_ASSIGN_OR_RETURN(FeatureView view, ReadView(message, aggregates_));
    GNOMON_ASSIGN_OR_RETURN(EntityKeyEncoder encoder, ReadKeys(message));
    return PartitionWrite(context, message, std::move(view), std::move(encoder), rows).Run(*online);
  }

 private:
  const OpenedStore store_;
  const PluginAggregates aggregates_;
};

}  // namespace

std::shared_ptr<const dataset::ExternalSink> MakeOnlineSink(OpenedStore store,
                                                            PluginAggregates aggregates) {
  return std::make_shared<OnlineSink>(std::move(store), std::move(aggregates));
}

Status RegisterOnlineSink(runtime::StageRegistry& registry, dataset::PlanExtensions* extensions) {
  // Opened when the driver has said which, before any task.
  const auto worker = std::make_shared<std::unique_ptr<OnlineStore>>();
  const auto store = [worker]() -> Result<OnlineStore*> {
    if (*worker != nullptr) return worker->get();
    return Error(ErrorKind::kInternal, "the driver did not say how the online store is reached");
  };
  extensions->sinks[kOnlineSink] = MakeOnlineSink(store, extensions->aggregates);
  return registry.AddAccess(kAccess, [worker](std::string_view bytes) {
    return OpenOnlineStore(Secret(std::string(bytes))).Value(worker.get());
  });
}

std::map<std::string, Secret> AccessToOnlineStore(Secret access) {
  return {{kAccess, std::move(access)}};
}

Result<std::string> OnlineSinkParameters(const Definitions& definitions, const std::string& project,
                                         const FeatureView& view, const OnlineSinkRows& rows,
                                         int64_t end, const MaterializationOptions& options) {
  proto::OnlineSink message;
  message.set_project(project);
  message.set_view(view.name);
  if (!view.is_derived()) message.set_source(view.source);
  GNOMON_ASSIGN_OR_RETURN(const auto keys, JoinKeys(definitions, view));
  for (size_t i = 0; i < keys.size(); ++i) {
    const Entity& entity = *definitions.FindEntity(view.entities[i]);
    WriteField(keys[i], entity.value_type, message.add_join_keys());
  }
  for (const Field& field : view.schema)
    WriteField(field.name, field.dtype, message.add_features());
  for (const Aggregation& aggregation : view.aggregations)
    WriteAggregation(aggregation, message.add_aggregations());
  message.set_time(rows.time);
  message.set_created(rows.created);
  message.set_source_rows(rows.source_rows);
  message.set_skipped_rows(rows.skipped_rows);
  message.set_end(end);
  message.set_rows_per_commit(options.rows_per_commit);
  message.set_value_count_bytes(options.value_count_bytes);
  return message.SerializeAsString();
}

Status AddToken(std::string_view token, MaterializationResult* result, FailedRows* failed) {
  proto::OnlineSinkToken message;
  if (!message.ParseFromArray(token.data(), static_cast<int>(token.size())))
    return Error(ErrorKind::kDataLoss, "not the token of rows in an online store");
  result->rows += message.rows();
  result->source_rows += message.source_rows();
  result->skipped_rows += message.skipped_rows();
  result->spilled_bytes += message.spilled_bytes();
  if (message.failed_rows() == 0) return Status::OK();
  failed->Merge(FailedRows::Of(
      message.failed_rows(), {message.examples().begin(), message.examples().end()},
      MakeError(static_cast<ErrorKind>(message.error_kind()), "", {}, message.hint())));
  return Status::OK();
}

}  // namespace gnomon::feature
