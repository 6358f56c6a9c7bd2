#include <utility>

#include "feature/definition/definition_parse_internal.h"
#include "feature/definition/repository.h"

namespace gnomon::feature {

namespace {

// Known to Feast or planned here, but done by nothing yet: an error that says so, not a spelling
// suggestion.
Status CheckUnsupported(const ConfigNode& node, std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) {
    const ConfigNode member = node.Get(key);
    if (!node.Has(key) || member.is_null()) continue;
    return MakeError(ErrorKind::kUnsupported,
                     Concat(member.path(), ": ", Quoted(key), " is not supported by this build"),
                     member.location());
  }
  return Status::OK();
}

template <typename Object>
Status ReadCommon(const ConfigNode& node, Object* object) {
  GNOMON_RETURN_NOT_OK(MemberReader(node)
                           .Text("name", &object->name)
                           .Text("description", &object->description)
                           .TextMap("tags", &object->tags)
                           .Text("owner", &object->owner)
                           .status());
  if (object->name.empty()) return node.ErrorHere("name is missing");
  return Status::OK();
}

Result<Entity> ParseEntity(const ConfigNode& node) {
  GNOMON_RETURN_NOT_OK(node.CheckKeys(
      {"name", "join_keys", "join_key", "value_type", "description", "tags", "owner"}));
  Entity entity;
  GNOMON_RETURN_NOT_OK(ReadCommon(node, &entity));
  std::vector<std::string> keys;
  GNOMON_RETURN_NOT_OK(MemberReader(node)
                           .Text("join_key", &entity.join_key)
                           .TextList("join_keys", &keys)
                           .Type("value_type", &entity.value_type)
                           .status());
  if (node.Has("join_keys") && node.Has("join_key")) {
    return node.Get("join_key").ErrorHere("join_key and join_keys say the same: keep one");
  }
  if (keys.size() > 1) {
    return node.Get("join_keys")
        .ErrorHere("an entity has exactly one join key",
                   "define an entity for each and list them in the view");
  }
  if (!keys.empty()) entity.join_key = keys[0];
  if (entity.join_key.empty()) entity.join_key = entity.name;
  return entity;
}

Result<DataSource> ParseDataSource(const ConfigNode& node) {
  GNOMON_RETURN_NOT_OK(
      node.CheckKeys({"name", "type", "path", "table", "query", "file_format",
                      "s3_endpoint_override", "timestamp_field", "created_timestamp_column",
                      "field_mapping", "description", "tags", "owner"},
                     {"date_partition_column"}));
  DataSource source;
  GNOMON_RETURN_NOT_OK(ReadCommon(node, &source));
  GNOMON_RETURN_NOT_OK(MemberReader(node)
                           .Text("type", &source.type)
                           .Text("path", &source.path)
                           .Text("table", &source.table)
                           .Text("query", &source.query)
                           .Text("file_format", &source.file_format)
                           .Text("s3_endpoint_override", &source.s3_endpoint_override)
                           .Text("timestamp_field", &source.timestamp_field)
                           .Text("created_timestamp_column", &source.created_timestamp_column)
                           .TextMap("field_mapping", &source.field_mapping)
                           .status());
  source.type = ToLower(source.type);
  source.file_format = ToLower(source.file_format);
  if (source.type == "postgresql") source.type = "postgres";
  if (source.type != "file" && source.type != "postgres" && source.type != "sqlite") {
    const ConfigNode type = node.Get("type");
    return MakeError(ErrorKind::kUnsupported,
                     Concat(type.path(), ": data source type ", Quoted(source.type),
                            " is not supported by this build"),
                     type.location(), "types: file, postgres, sqlite");
  }
  return source;
}

Result<Field> ParseField(const ConfigNode& node, bool with_expression) {
  std::vector<std::string> known = {"name", "dtype", "description", "tags"};
  if (with_expression) known.emplace_back("expression");
  GNOMON_RETURN_NOT_OK(RequireMapping(node));
  GNOMON_RETURN_NOT_OK(
      node.CheckKeys(known, {"vector_index", "vector_length", "vector_search_metric"}));
  Field field;
  GNOMON_RETURN_NOT_OK(MemberReader(node)
                           .Text("name", &field.name)
                           .Type("dtype", &field.dtype)
                           .Text("description", &field.description)
                           .TextMap("tags", &field.tags)
                           .status());
  if (field.name.empty()) return node.ErrorHere("name is missing");
  return field;
}

Result<std::vector<Field>> ParseFields(const ConfigNode& node) {
  std::vector<Field> fields;
  GNOMON_ASSIGN_OR_RETURN(const auto elements, node.Elements());
  for (const ConfigNode& element : elements) {
    GNOMON_ASSIGN_OR_RETURN(Field field, ParseField(element, false));
    fields.push_back(std::move(field));
  }
  return fields;
}

// `{new: expression}` in the file's order, or a list of {name, expression}.
Result<std::vector<Transformation>> ParseTransformations(const ConfigNode& node) {
  std::vector<Transformation> items;
  if (node.is_mapping()) {
    GNOMON_ASSIGN_OR_RETURN(const auto members, node.Members());
    for (const auto& [name, member] : members) {
      GNOMON_ASSIGN_OR_RETURN(std::string expression, member.AsString());
      items.push_back({name, std::move(expression)});
    }
    return items;
  }
  GNOMON_ASSIGN_OR_RETURN(const auto elements, node.Elements());
  for (const ConfigNode& element : elements) {
    GNOMON_RETURN_NOT_OK(RequireMapping(element));
    GNOMON_RETURN_NOT_OK(element.CheckKeys({"name", "expression"}));
    Transformation item;
    GNOMON_RETURN_NOT_OK(MemberReader(element)
                             .Text("name", &item.name)
                             .Text("expression", &item.expression)
                             .status());
    if (item.name.empty()) return element.ErrorHere("name is missing");
    if (item.expression.empty()) return element.ErrorHere("expression is missing");
    items.push_back(std::move(item));
  }
  return items;
}

Result<FeatureView> ParseFeatureView(const ConfigNode& node, const Extensions* extensions) {
  GNOMON_RETURN_NOT_OK(
      CheckUnsupported(node, {"plugins", "udf", "feature_transformation", "stream_source"}));
  GNOMON_RETURN_NOT_OK(node.CheckKeys(
      {"name", "entities", "source", "source_views", "sink_source", "push_source", "ttl", "schema",
       "online", "filter", "transformations", "aggregations", "description", "tags", "owner"},
      {"offline", "version", "enabled", "mode", "org", "enable_validation", "plugins", "udf",
       "feature_transformation", "stream_source", "batch_engine"}));
  FeatureView view;
  GNOMON_RETURN_NOT_OK(ReadCommon(node, &view));
  GNOMON_RETURN_NOT_OK(MemberReader(node)
                           .TextList("entities", &view.entities)
                           .Text("source", &view.source)
                           .TextList("source_views", &view.source_views)
                           .Text("sink_source", &view.sink_source)
                           .Text("push_source", &view.push_source)
                           .Duration("ttl", &view.ttl)
                           .Bool("online", &view.online)
                           .Text("filter", &view.filter)
                           .status());
  GNOMON_ASSIGN_OR_RETURN(view.schema, ParseFields(node.Get("schema")));
  GNOMON_ASSIGN_OR_RETURN(view.transformations, ParseTransformations(node.Get("transformations")));
  GNOMON_ASSIGN_OR_RETURN(const auto elements, node.Get("aggregations").Elements());
  for (const ConfigNode& element : elements) {
    GNOMON_ASSIGN_OR_RETURN(Aggregation aggregation, ParseAggregation(element, extensions));
    view.aggregations.push_back(std::move(aggregation));
  }
  return view;
}

Result<OnDemandFeatureView> ParseOnDemandFeatureView(const ConfigNode& node) {
  GNOMON_RETURN_NOT_OK(
      CheckUnsupported(node, {"plugins", "udf", "feature_transformation", "aggregations"}));
  GNOMON_RETURN_NOT_OK(
      node.CheckKeys({"name", "sources", "request", "schema", "features", "write_to_online_store",
                      "description", "tags", "owner"},
                     {"mode", "singleton", "track_metrics", "entities", "version", "enabled", "org",
                      "plugins", "udf", "feature_transformation", "aggregations"}));
  OnDemandFeatureView view;
  GNOMON_RETURN_NOT_OK(ReadCommon(node, &view));
  GNOMON_RETURN_NOT_OK(MemberReader(node)
                           .TextList("sources", &view.sources)
                           .Bool("write_to_online_store", &view.write_to_online_store)
                           .status());
  GNOMON_ASSIGN_OR_RETURN(view.request_schema, ParseFields(node.Get("request")));
  if (node.Has("schema") && node.Has("features")) {
    return node.Get("features").ErrorHere("schema and features say the same: keep one");
  }
  GNOMON_ASSIGN_OR_RETURN(const auto elements,
                          node.Get(node.Has("schema") ? "schema" : "features").Elements());
  for (const ConfigNode& element : elements) {
    GNOMON_ASSIGN_OR_RETURN(Field field, ParseField(element, true));
    std::string expression;
    GNOMON_RETURN_NOT_OK(MemberReader(element).Text("expression", &expression).status());
    if (expression.empty()) return element.ErrorHere("expression is missing");
    view.expressions.push_back({field.name, std::move(expression)});
    view.schema.push_back(std::move(field));
  }
  return view;
}

Result<Projection> ParseProjectionMapping(const ConfigNode& node) {
  GNOMON_RETURN_NOT_OK(node.CheckKeys({"view", "features", "name_alias", "join_key_map"}));
  Projection projection;
  GNOMON_RETURN_NOT_OK(MemberReader(node)
                           .Text("view", &projection.view)
                           .TextList("features", &projection.features)
                           .Text("name_alias", &projection.name_alias)
                           .TextMap("join_key_map", &projection.join_key_map)
                           .status());
  if (projection.view.empty()) return node.ErrorHere("view is missing");
  return projection;
}

// "view", "view:feature" or a mapping. Several "view:feature" of one view become one projection.
Status AddProjection(const ConfigNode& node, std::vector<Projection>* projections) {
  if (node.is_mapping()) {
    GNOMON_ASSIGN_OR_RETURN(Projection projection, ParseProjectionMapping(node));
    projections->push_back(std::move(projection));
    return Status::OK();
  }
  GNOMON_ASSIGN_OR_RETURN(const std::string text, node.AsString());
  if (text.find(':') == std::string::npos) {
    projections->push_back({text, {}, {}, {}});
    return Status::OK();
  }
  auto parsed = FeatureRef::Parse(text);
  if (!parsed.ok()) {
    return WithLocation(WithContext(parsed.status(), node.path()), node.location());
  }
  for (Projection& projection : *projections) {
    const bool plain = projection.name_alias.empty() && projection.join_key_map.empty();
    if (projection.view != parsed->view || !plain || projection.features.empty()) continue;
    projection.features.push_back(parsed->feature);
    return Status::OK();
  }
  projections->push_back({parsed->view, {}, {parsed->feature}, {}});
  return Status::OK();
}

Result<FeatureService> ParseFeatureService(const ConfigNode& node) {
  GNOMON_RETURN_NOT_OK(node.CheckKeys({"name", "features", "description", "tags", "owner"},
                                      {"logging_config", "precompute_online"}));
  FeatureService service;
  GNOMON_RETURN_NOT_OK(ReadCommon(node, &service));
  GNOMON_ASSIGN_OR_RETURN(const auto elements, node.Get("features").Elements());
  for (const ConfigNode& element : elements) {
    GNOMON_RETURN_NOT_OK(AddProjection(element, &service.features));
  }
  return service;
}

template <typename Object, typename Parse>
Status ParseList(const ConfigNode& node, const Parse& parse, std::vector<Object>* objects) {
  GNOMON_ASSIGN_OR_RETURN(const auto elements, node.Elements());
  for (const ConfigNode& element : elements) {
    GNOMON_RETURN_NOT_OK(RequireMapping(element));
    GNOMON_ASSIGN_OR_RETURN(Object object, parse(element));
    objects->push_back(std::move(object));
  }
  return Status::OK();
}

}  // namespace

Result<Definitions> ParseDefinitions(const ConfigNode& root,
                                     const std::shared_ptr<const Extensions>& extensions) {
  Definitions definitions;
  if (root.is_null()) return definitions;
  GNOMON_RETURN_NOT_OK(RequireMapping(root));
  if (root.Has("plugins")) {
    return root.Get("plugins").ErrorHere("'plugins' is a key of feature_store.yaml",
                                         "move it there: docs/guide/plugins.md");
  }
  GNOMON_RETURN_NOT_OK(
      CheckUnsupported(root, {"stream_feature_views", "batch_feature_views", "label_views",
                              "permissions", "saved_datasets", "validation_references"}));
  GNOMON_RETURN_NOT_OK(root.CheckKeys({"entities", "data_sources", "feature_views",
                                       "on_demand_feature_views", "feature_services"}));
  GNOMON_RETURN_NOT_OK(ParseList(root.Get("entities"), ParseEntity, &definitions.entities));
  GNOMON_RETURN_NOT_OK(
      ParseList(root.Get("data_sources"), ParseDataSource, &definitions.data_sources));
  const auto parse_view = [&](const ConfigNode& node) {
    return ParseFeatureView(node, extensions.get());
  };
  GNOMON_RETURN_NOT_OK(
      ParseList(root.Get("feature_views"), parse_view, &definitions.feature_views));
  GNOMON_RETURN_NOT_OK(ParseList(root.Get("on_demand_feature_views"), ParseOnDemandFeatureView,
                                 &definitions.on_demand_feature_views));
  GNOMON_RETURN_NOT_OK(
      ParseList(root.Get("feature_services"), ParseFeatureService, &definitions.feature_services));
  return WithExtensions(std::move(definitions), extensions);
}

}  // namespace gnomon::feature
