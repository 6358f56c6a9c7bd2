#include <algorithm>
#include <utility>

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include "base/time.h"
#include "feature/registry/feast_message_internal.h"
#include "feature/registry/spec_tag_internal.h"

namespace gnomon::feature {

namespace {

constexpr std::string_view kFileSourceClass = "feast.infra.offline_stores.file_source.FileSource";
constexpr std::string_view kPushSourceClass = "feast.data_source.PushSource";
constexpr std::string_view kPostgresSourceClass =
    "feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source.PostgreSQLSource";

void WriteMap(const std::map<std::string, std::string>& values, TagMap* map) {
  map->clear();
  for (const auto& [key, value] : values) (*map)[key] = value;
}

void WriteField(const Field& field, feast::core::FeatureSpecV2* message) {
  message->set_name(field.name);
  message->set_value_type(static_cast<feast::types::ValueType::Enum>(field.dtype.FeastNumber()));
  message->set_description(field.description);
  WriteMap(field.tags, message->mutable_tags());
}

// Puts the messages of `before` that are Feast's alone back, each behind those that it stood
// behind. `name_of` tells them apart.
template <typename Message, typename NameOf, typename IsForeign>
void PutBack(const google::protobuf::RepeatedPtrField<Message>& before, NameOf name_of,
             IsForeign is_foreign, google::protobuf::RepeatedPtrField<Message>* messages) {
  const auto place_in = [&](const auto& list, const Message& message) {
    const auto found = std::ranges::find(list, name_of(message), name_of);
    return found == list.end() ? -1 : static_cast<int>(found - list.begin());
  };
  for (int i = 0; i < before.size(); ++i) {
    if (!is_foreign(before[i]) || place_in(*messages, before[i]) >= 0) continue;
    int place = 0;
    for (int j = 0; j < messages->size(); ++j) {
      const int old = place_in(before, (*messages)[j]);
      if (old >= 0 && old < i) place = j + 1;
    }
    *messages->Add() = before[i];
    for (int j = messages->size() - 1; j > place; --j) messages->SwapElements(j, j - 1);
  }
}

// Fields by position, so that what Feast alone knows about a field of the same name (vector
// indexes) stays.
void WriteFields(const std::vector<Field>& fields,
                 google::protobuf::RepeatedPtrField<feast::core::FeatureSpecV2>* messages) {
  google::protobuf::RepeatedPtrField<feast::core::FeatureSpecV2> before;
  before.Swap(messages);
  for (const Field& field : fields) {
    feast::core::FeatureSpecV2* message = messages->Add();
    const auto found = std::ranges::find(before, field.name,
                                         [](const auto& old) -> const auto& { return old.name(); });
    if (found != before.end()) message->Swap(&*found);
    WriteField(field, message);
  }
}

// As WriteFields; features of types that definitions cannot hold stay.
void WriteFeatures(const std::vector<Field>& fields,
                   google::protobuf::RepeatedPtrField<feast::core::FeatureSpecV2>* messages) {
  const google::protobuf::RepeatedPtrField<feast::core::FeatureSpecV2> before = *messages;
  WriteFields(fields, messages);
  PutBack(
      before, [](const auto& message) { return message.name(); },
      [](const auto& message) { return !IsReadable(message); }, messages);
}

gnomon::proto::AggregationSpec SpecOf(const Aggregation& aggregation) {
  gnomon::proto::AggregationSpec spec;
  spec.set_column(aggregation.column);
  if (aggregation.column_type.base != ValueType::kInvalid) {
    spec.set_column_type(aggregation.column_type.ToString());
  }
  spec.set_function(FunctionName(aggregation));
  spec.set_name(aggregation.name);
  if (aggregation.time_window) spec.set_time_window(*aggregation.time_window);
  if (aggregation.slide_interval) spec.set_slide_interval(*aggregation.slide_interval);
  const Aggregation defaults;
  if (aggregation.k != defaults.k) spec.set_k(aggregation.k);
  if (aggregation.quantile != defaults.quantile) spec.set_quantile(aggregation.quantile);
  if (aggregation.ddof != defaults.ddof) spec.set_ddof(aggregation.ddof);
  return spec;
}

gnomon::proto::ViewSpec SpecOf(const FeatureView& view) {
  gnomon::proto::ViewSpec spec;
  for (const Aggregation& aggregation : view.aggregations) {
    *spec.add_aggregations() = SpecOf(aggregation);
  }
  spec.set_filter(view.filter);
  spec.set_sink_source(view.sink_source);
  for (const Transformation& item : view.transformations) {
    auto* message = spec.add_transformations();
    message->set_name(item.name);
    message->set_expression(item.expression);
  }
  return spec;
}

void WriteEntityColumns(const Definitions& definitions, const FeatureView& view,
                        feast::core::FeatureViewSpec* spec) {
  std::vector<Field> keys;
  spec->clear_entities();
  for (const std::string& name : view.entities) {
    const Entity* entity = definitions.FindEntity(name);
    GNOMON_CHECK(entity != nullptr, name);
    spec->add_entities(name);
    keys.push_back({entity->join_key, entity->value_type, {}, {}});
  }
  if (view.entities.empty()) {
    spec->add_entities(std::string(kDummyEntity));
    keys.push_back({std::string(kDummyKey), ValueType{ValueType::kString}, {}, {}});
  }
  WriteFields(keys, spec->mutable_entity_columns());
}

/// Feast wants a batch source of every view; a view over views has that of its rows in the end.
const DataSource& RootSource(const Definitions& definitions, const FeatureView& view) {
  const std::string root = RootSources(definitions, view).at(0);
  const DataSource* source = definitions.FindDataSource(root);
  GNOMON_CHECK(source != nullptr, root);
  return *source;
}

/// Whether the batch source of a view over views is not what we write, but where Feast puts its
/// rows.
bool HasSinkOfFeast(const Definitions& definitions, const FeatureView& view,
                    const feast::core::FeatureViewSpec& spec) {
  const bool same_parents =
      std::ranges::equal(view.source_views, spec.source_views(), {}, {},
                         [](const auto& parent) -> const std::string& { return parent.name(); });
  return view.is_derived() && same_parents && IsForeignSink(definitions, view, spec);
}

void WritePushSource(const Definitions& definitions, const FeatureView& view,
                     feast::core::FeatureViewSpec* spec) {
  const bool had_one = spec->stream_source().type() == feast::core::DataSource::PUSH_SOURCE;
  if (had_one && spec->stream_source().name() != view.push_source) spec->clear_stream_source();
  if (view.push_source.empty()) return;
  feast::core::DataSource* source = spec->mutable_stream_source();
  source->set_name(view.push_source);
  source->set_type(feast::core::DataSource::PUSH_SOURCE);
  source->set_data_source_class_type(std::string(kPushSourceClass));
  const DataSource& root = RootSource(definitions, view);
  source->set_timestamp_field(root.timestamp_field);
  source->set_created_timestamp_column(root.created_timestamp_column);
  WriteMap(root.field_mapping, source->mutable_field_mapping());
  WriteDataSource(root, source->mutable_batch_source());
}

/// A projection that stays as Feast has it: of a view that is not ours, or of features that are
/// not.
bool IsLeftToFeast(const Definitions& definitions, const std::set<std::string>& foreign,
                   const feast::core::FeatureViewProjection& message) {
  if (foreign.contains(message.feature_view_name())) return true;
  return definitions.FindFeatureView(message.feature_view_name()) != nullptr &&
         !message.feature_columns().empty() &&
         std::ranges::none_of(message.feature_columns(), IsReadable);
}

std::string PostgresJson(const DataSource& source) {
  gnomon::proto::PostgresSource fields;
  fields.set_name(source.name);
  fields.set_query(source.query);
  fields.set_table(source.table);
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(fields, &json, options);
  GNOMON_CHECK(status.ok(), status.ToString());
  return json;
}

void WriteProjection(const Definitions& definitions, const FeatureView& view,
                     const Projection& projection, feast::core::FeatureViewProjection* message) {
  message->set_feature_view_name(projection.view);
  message->set_feature_view_name_alias(projection.name_alias);
  WriteMap(projection.join_key_map, message->mutable_join_key_map());
  std::vector<Field> fields;
  for (const Field& field : view.schema) {
    if (projection.features.empty()) fields.push_back(field);
  }
  for (const std::string& feature : projection.features) {
    const Field* field = view.FindField(feature);
    fields.push_back(field != nullptr ? *field : Field{feature, {}, {}, {}});
  }
  WriteFeatures(fields, message->mutable_feature_columns());
  const DataSource& source = RootSource(definitions, view);
  message->set_timestamp_field(source.timestamp_field);
  message->set_created_timestamp_column(source.created_timestamp_column);
  WriteDataSource(source, message->mutable_batch_source());
}

}  // namespace

void WriteSpecTag(const google::protobuf::Message& spec, TagMap* tags) {
  if (spec.ByteSizeLong() == 0) return;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(spec, &json, options);
  GNOMON_CHECK(status.ok(), status.ToString());
  (*tags)[std::string(kSpecTag)] = std::move(json);
}

std::string SerializeMessage(const google::protobuf::Message& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  GNOMON_CHECK(message.SerializePartialToCodedStream(&coded), message.GetTypeName());
  coded.Trim();
  return bytes;
}

void WriteEntity(const Entity& entity, feast::core::EntitySpecV2* spec) {
  spec->set_name(entity.name);
  spec->set_join_key(entity.join_key);
  spec->set_value_type(static_cast<feast::types::ValueType::Enum>(entity.value_type.FeastNumber()));
  spec->set_description(entity.description);
  WriteMap(entity.tags, spec->mutable_tags());
  spec->set_owner(entity.owner);
}

void WriteDataSource(const DataSource& source, feast::core::DataSource* message) {
  message->set_name(source.name);
  WriteMap(source.field_mapping, message->mutable_field_mapping());
  message->set_timestamp_field(source.timestamp_field);
  message->set_created_timestamp_column(source.created_timestamp_column);
  message->set_description(source.description);
  message->set_owner(source.owner);
  WriteMap(source.tags, message->mutable_tags());
  if (source.type == "postgres") {
    message->set_type(feast::core::DataSource::CUSTOM_SOURCE);
    message->set_data_source_class_type(std::string(kPostgresSourceClass));
    message->mutable_custom_options()->set_configuration(PostgresJson(source));
    return;
  }
  message->set_type(feast::core::DataSource::BATCH_FILE);
  message->set_data_source_class_type(std::string(kFileSourceClass));
  auto* options = message->mutable_file_options();
  options->set_uri(source.path);
  options->set_s3_endpoint_override(source.s3_endpoint_override);
  options->clear_file_format();
  gnomon::proto::SourceSpec spec;
  if (source.file_format == "parquet") {
    options->mutable_file_format()->mutable_parquet_format();
  } else {
    spec.set_file_format(source.file_format);
  }
  if (source.type != "file") {
    spec.set_type(source.type);
    spec.set_table(source.table);
    spec.set_query(source.query);
  }
  WriteSpecTag(spec, message->mutable_tags());
}

void WriteFeatureView(const Definitions& definitions, const FeatureView& view,
                      feast::core::FeatureViewSpec* spec) {
  spec->set_name(view.name);
  WriteEntityColumns(definitions, view, spec);
  WriteFeatures(view.schema, spec->mutable_features());
  spec->mutable_ttl()->set_seconds(view.ttl / kMicrosPerSecond);
  spec->mutable_ttl()->set_nanos(static_cast<int32_t>(view.ttl % kMicrosPerSecond * 1000));
  if (!HasSinkOfFeast(definitions, view, *spec)) {
    WriteDataSource(RootSource(definitions, view), spec->mutable_batch_source());
  }
  WritePushSource(definitions, view, spec);
  spec->clear_source_views();
  for (const std::string& name : view.source_views) {
    const FeatureView* parent = definitions.FindFeatureView(name);
    GNOMON_CHECK(parent != nullptr, name);
    WriteFeatureView(definitions, *parent, spec->add_source_views());
  }
  spec->set_online(view.online);
  spec->set_description(view.description);
  spec->set_owner(view.owner);
  if (spec->version().empty()) spec->set_version("latest");
  WriteMap(view.tags, spec->mutable_tags());
  WriteSpecTag(SpecOf(view), spec->mutable_tags());
}

void WriteFeatureService(const Definitions& definitions, const std::set<std::string>& foreign,
                         const FeatureService& service, feast::core::FeatureServiceSpec* spec) {
  spec->set_name(service.name);
  spec->set_description(service.description);
  spec->set_owner(service.owner);
  WriteMap(service.tags, spec->mutable_tags());
  google::protobuf::RepeatedPtrField<feast::core::FeatureViewProjection> before;
  before.Swap(spec->mutable_features());
  const auto is_of = [](const Projection& projection, const auto& message) {
    return message.feature_view_name() == projection.view &&
           message.feature_view_name_alias() == projection.name_alias;
  };
  gnomon::proto::ServiceSpec extra;
  for (const Projection& projection : service.features) {
    const FeatureView* view = definitions.FindFeatureView(projection.view);
    if (view == nullptr) continue;
    feast::core::FeatureViewProjection* message = spec->add_features();
    const auto found =
        std::ranges::find_if(before, [&](const auto& old) { return is_of(projection, old); });
    if (found != before.end()) *message = *found;
    WriteProjection(definitions, *view, projection, message);
    if (projection.features.empty()) {
      extra.add_whole_views(projection.name_alias.empty() ? projection.view
                                                          : projection.name_alias);
    }
  }
  PutBack(
      before,
      [](const auto& message) {
        return std::pair(message.feature_view_name(), message.feature_view_name_alias());
      },
      [&](const auto& message) { return IsLeftToFeast(definitions, foreign, message); },
      spec->mutable_features());
  for (const auto& message : spec->features()) {
    if (foreign.contains(message.feature_view_name())) {
      extra.add_foreign_views(message.feature_view_name());
    }
  }
  WriteSpecTag(extra, spec->mutable_tags());
}

}  // namespace gnomon::feature
