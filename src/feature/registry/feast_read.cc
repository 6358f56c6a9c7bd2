#include <algorithm>
#include <limits>
#include <utility>

#include "base/time.h"
#include "feature/registry/feast_message_internal.h"
#include "feature/registry/spec_tag_internal.h"

namespace gnomon::feature {

namespace {

std::map<std::string, std::string> MapOf(const TagMap& map) { return {map.begin(), map.end()}; }

Result<ValueType> TypeOf(int number) {
  if (number == 0) return ValueType{};
  return ValueType::FromFeastNumber(number);
}

Result<Field> ReadField(const feast::core::FeatureSpecV2& message) {
  auto type = TypeOf(message.value_type());
  if (!type.ok()) return WithContext(type.status(), Concat("feature ", Quoted(message.name())));
  return Field{message.name(), *type, message.description(), MapOf(message.tags())};
}

// Seconds and nanoseconds as microseconds; out of range values end at the ends.
int64_t Micros(int64_t seconds, int32_t nanos) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / kMicrosPerSecond - 1;
  return std::clamp(seconds, -kMost, kMost) * kMicrosPerSecond + nanos / 1000;
}

Result<Aggregation> ReadAggregation(const gnomon::proto::AggregationSpec& spec) {
  Aggregation aggregation;
  aggregation.column = spec.column();
  if (!spec.column_type().empty()) {
    GNOMON_ASSIGN_OR_RETURN(aggregation.column_type, ValueType::Parse(spec.column_type()));
  }
  // What we do not know is a plug-in's: its library may be missing, now or for ever.
  const auto function = pit::ParseAggregateFunction(spec.function());
  aggregation.function = function.ok() ? *function : pit::AggregateFunction::kCustom;
  if (!function.ok()) aggregation.custom.name = spec.function();
  aggregation.name = spec.name();
  if (spec.has_time_window()) aggregation.time_window = spec.time_window();
  if (spec.has_slide_interval()) aggregation.slide_interval = spec.slide_interval();
  if (spec.has_k()) aggregation.k = spec.k();
  if (spec.has_quantile()) aggregation.quantile = spec.quantile();
  if (spec.has_ddof()) aggregation.ddof = spec.ddof();
  return aggregation;
}

Result<std::vector<Field>> ReadFeatures(const feast::core::FeatureViewSpec& spec,
                                        std::vector<std::string>* notes) {
  std::vector<Field> fields;
  std::vector<std::string> left_out;
  Status unreadable;
  for (const auto& feature : spec.features()) {
    auto field = ReadField(feature);
    if (field.ok()) {
      fields.push_back(std::move(*field));
      continue;
    }
    unreadable = field.status();
    left_out.push_back(Concat("feature view ", Quoted(spec.name()), ": ", unreadable.message()));
  }
  if (fields.empty() && !unreadable.ok()) return unreadable;
  if (notes != nullptr) notes->insert(notes->end(), left_out.begin(), left_out.end());
  return fields;
}

Status ReadPostgresSource(const std::string& json, DataSource* source) {
  gnomon::proto::PostgresSource fields;
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  const auto status = google::protobuf::util::JsonStringToMessage(json, &fields, options);
  if (!status.ok())
    return Error(ErrorKind::kDataLoss, "broken configuration of a PostgreSQLSource");
  source->type = "postgres";
  source->table = fields.table();
  // Feast prefers the table where there are both.
  if (source->table.empty()) source->query = fields.query();
  return Status::OK();
}

/// What a source that is not read here is, and what to do.
Status ForeignSource(const feast::core::DataSource& message) {
  using feast::core::DataSource;
  if (message.type() == DataSource::STREAM_KAFKA || message.type() == DataSource::STREAM_KINESIS) {
    return Error(ErrorKind::kUnsupported, "source type ",
                 DataSource::SourceType_Name(message.type()),
                 ": streams are not read here; push their rows");
  }
  // Custom sources are told by their class: "feast.infra...spark_source.SparkSource".
  std::string kind = DataSource::SourceType_Name(message.type());
  const std::string& type = message.data_source_class_type();
  if (message.type() == DataSource::CUSTOM_SOURCE && !type.empty())
    kind = type.substr(type.rfind('.') + 1);
  return Error(ErrorKind::kUnsupported, "source type ", kind,
               ": not read here; export its rows to Parquet files or PostgreSQL and name these");
}

}  // namespace

int64_t MicrosOf(const google::protobuf::Timestamp& timestamp) {
  return Micros(timestamp.seconds(), timestamp.nanos());
}

void SetMicros(int64_t micros, google::protobuf::Timestamp* timestamp) {
  int64_t seconds = micros / kMicrosPerSecond;
  int64_t rest = micros % kMicrosPerSecond;
  if (rest < 0) {
    rest += kMicrosPerSecond;
    --seconds;
  }
  // The years 0001 to 9999, all that a Timestamp may hold.
  seconds = std::clamp(seconds, int64_t{-62'135'596'800}, int64_t{253'402'300'799});
  timestamp->set_seconds(seconds);
  timestamp->set_nanos(static_cast<int32_t>(rest * 1000));
}

Result<Entity> ReadEntity(const feast::core::EntitySpecV2& spec) {
  Entity entity;
  entity.name = spec.name();
  entity.join_key = spec.join_key().empty() ? spec.name() : spec.join_key();
  GNOMON_ASSIGN_OR_RETURN(entity.value_type, TypeOf(spec.value_type()));
  entity.description = spec.description();
  entity.tags = MapOf(spec.tags());
  entity.owner = spec.owner();
  return entity;
}

Result<DataSource> ReadDataSource(const feast::core::DataSource& message) {
  DataSource source;
  source.name = message.name();
  source.timestamp_field = message.timestamp_field();
  source.created_timestamp_column = message.created_timestamp_column();
  source.field_mapping = MapOf(message.field_mapping());
  source.description = message.description();
  source.tags = MapOf(message.tags());
  source.owner = message.owner();
  if (message.has_custom_options() &&
      message.data_source_class_type().ends_with(".PostgreSQLSource")) {
    GNOMON_RETURN_NOT_OK(ReadPostgresSource(message.custom_options().configuration(), &source));
    return source;
  }
  if (message.type() == feast::core::DataSource::PUSH_SOURCE) {
    return Error(ErrorKind::kUnsupported,
                 "a push source that no feature view reads; name it as a view's push_source");
  }
  if (message.type() != feast::core::DataSource::BATCH_FILE || !message.has_file_options())
    return ForeignSource(message);
  const auto& options = message.file_options();
  if (options.has_file_format() && !options.file_format().has_parquet_format() &&
      options.file_format().ByteSizeLong() > 0) {
    return Error(ErrorKind::kUnsupported,
                 "a file format other than Parquet: not read here; export its rows to Parquet");
  }
  source.path = options.uri();
  source.s3_endpoint_override = options.s3_endpoint_override();
  GNOMON_ASSIGN_OR_RETURN(const auto spec, TakeSpecTag<gnomon::proto::SourceSpec>(&source.tags));
  source.file_format = options.file_format().has_parquet_format() ? "parquet" : spec.file_format();
  if (!spec.type().empty()) source.type = spec.type();
  source.table = spec.table();
  source.query = spec.query();
  return source;
}

bool IsReadable(const feast::core::FeatureSpecV2& feature) {
  return TypeOf(feature.value_type()).ok();
}

Result<FeatureView> ReadFeatureView(const feast::core::FeatureViewSpec& spec,
                                    std::vector<std::string>* notes) {
  if (spec.has_feature_transformation()) {
    return Error(ErrorKind::kUnsupported,
                 "a Python transformation does not run here; write it as expressions");
  }
  FeatureView view;
  view.name = spec.name();
  for (const auto& parent : spec.source_views()) view.source_views.push_back(parent.name());
  if (!view.is_derived()) {
    if (!spec.has_batch_source()) return Error(ErrorKind::kUnsupported, "no batch source");
    GNOMON_ASSIGN_OR_RETURN(const DataSource source, ReadDataSource(spec.batch_source()));
    view.source = source.name;
  }
  for (const std::string& entity : spec.entities()) {
    if (entity != kDummyEntity) view.entities.push_back(entity);
  }
  if (spec.stream_source().type() == feast::core::DataSource::PUSH_SOURCE) {
    view.push_source = spec.stream_source().name();
  }
  GNOMON_ASSIGN_OR_RETURN(view.schema, ReadFeatures(spec, notes));
  view.ttl = Micros(spec.ttl().seconds(), spec.ttl().nanos());
  view.online = spec.online();
  view.description = spec.description();
  view.tags = MapOf(spec.tags());
  view.owner = spec.owner();
  GNOMON_ASSIGN_OR_RETURN(const auto extra, TakeSpecTag<gnomon::proto::ViewSpec>(&view.tags));
  view.filter = extra.filter();
  view.sink_source = extra.sink_source();
  for (const auto& item : extra.transformations()) {
    view.transformations.push_back({item.name(), item.expression()});
  }
  for (const auto& item : extra.aggregations()) {
    GNOMON_ASSIGN_OR_RETURN(Aggregation aggregation, ReadAggregation(item));
    view.aggregations.push_back(std::move(aggregation));
  }
  return view;
}

Result<FeatureService> ReadFeatureService(const Definitions& definitions,
                                          const std::set<std::string>& foreign,
                                          const feast::core::FeatureServiceSpec& spec) {
  FeatureService service;
  service.name = spec.name();
  service.description = spec.description();
  service.tags = MapOf(spec.tags());
  service.owner = spec.owner();
  GNOMON_ASSIGN_OR_RETURN(const auto extra, TakeSpecTag<gnomon::proto::ServiceSpec>(&service.tags));
  const auto& left_to_feast = extra.foreign_views();
  for (const auto& message : spec.features()) {
    const std::string& name = message.feature_view_name();
    if (foreign.contains(name) && std::ranges::find(left_to_feast, name) != left_to_feast.end()) {
      continue;
    }
    Projection projection;
    projection.view = message.feature_view_name();
    projection.name_alias = message.feature_view_name_alias();
    projection.join_key_map = MapOf(message.join_key_map());
    for (const auto& feature : message.feature_columns()) {
      if (IsReadable(feature)) projection.features.push_back(feature.name());
    }
    if (projection.features.empty() && !message.feature_columns().empty()) continue;
    const std::string& output =
        projection.name_alias.empty() ? projection.view : projection.name_alias;
    const FeatureView* view = definitions.FindFeatureView(projection.view);
    const bool was_whole =
        std::ranges::find(extra.whole_views(), output) != extra.whole_views().end();
    // Feast may have changed the list since.
    if (view != nullptr && was_whole &&
        std::ranges::equal(projection.features, view->schema, {}, {}, &Field::name)) {
      projection.features.clear();
    }
    service.features.push_back(std::move(projection));
  }
  return service;
}

}  // namespace gnomon::feature
