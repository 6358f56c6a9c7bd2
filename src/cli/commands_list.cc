#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "base/time.h"
#include "cli/commands.h"

namespace gnomon::cli {
namespace {

using nlohmann::ordered_json;

ordered_json FieldsJson(const std::vector<feature::Field>& fields) {
  ordered_json all = ordered_json::array();
  for (const auto& field : fields)
    all.push_back({{"name", field.name}, {"dtype", field.dtype.ToString()}});
  return all;
}

ordered_json Describe(const feature::Entity& entity) {
  return {{"name", entity.name},
          {"join_key", entity.join_key},
          {"value_type", entity.value_type.ToString()},
          {"description", entity.description},
          {"owner", entity.owner},
          {"tags", entity.tags}};
}

ordered_json Describe(const feature::DataSource& source) {
  ordered_json json = {{"name", source.name}, {"type", source.type}, {"path", source.path}};
  if (!source.table.empty()) json["table"] = source.table;
  if (!source.query.empty()) json["query"] = source.query;
  json["timestamp_field"] = source.timestamp_field;
  json["created_timestamp_column"] = source.created_timestamp_column;
  json["field_mapping"] = source.field_mapping;
  json["description"] = source.description;
  json["owner"] = source.owner;
  json["tags"] = source.tags;
  return json;
}

ordered_json Describe(const feature::FeatureView& view) {
  ordered_json json = {
      {"name", view.name},     {"entities", view.entities},
      {"source", view.source}, {"ttl", view.ttl > 0 ? FormatDuration(view.ttl) : "unlimited"},
      {"online", view.online}, {"features", FieldsJson(view.schema)}};
  if (!view.sink_source.empty()) json["sink_source"] = view.sink_source;
  if (!view.push_source.empty()) json["push_source"] = view.push_source;
  if (view.is_derived()) json["source_views"] = view.source_views;
  if (!view.filter.empty()) json["filter"] = view.filter;
  for (const auto& step : view.transformations)
    json["transformations"][step.name] = step.expression;
  for (const auto& each : view.aggregations) {
    json["aggregations"].push_back(
        {{"name", each.name},
         {"function", feature::FunctionName(each)},
         {"column", each.column},
         {"time_window",
          each.time_window ? FormatDuration(*each.time_window) : std::string("lifetime")}});
  }
  json["description"] = view.description;
  json["owner"] = view.owner;
  json["tags"] = view.tags;
  return json;
}

ordered_json Describe(const feature::OnDemandFeatureView& view) {
  ordered_json json = {{"name", view.name},
                       {"sources", view.sources},
                       {"request", FieldsJson(view.request_schema)},
                       {"features", FieldsJson(view.schema)}};
  for (const auto& each : view.expressions) json["expressions"][each.name] = each.expression;
  json["description"] = view.description;
  return json;
}

ordered_json Describe(const feature::FeatureService& service) {
  ordered_json json = {{"name", service.name}, {"features", ordered_json::array()}};
  for (const auto& projection : service.features) {
    ordered_json item = {{"view", projection.view}};
    if (!projection.name_alias.empty()) item["name_alias"] = projection.name_alias;
    if (!projection.features.empty()) item["features"] = projection.features;
    if (!projection.join_key_map.empty()) item["join_key_map"] = projection.join_key_map;
    json["features"].push_back(std::move(item));
  }
  json["description"] = service.description;
  json["owner"] = service.owner;
  json["tags"] = service.tags;
  return json;
}

std::vector<std::string> Columns(const feature::Entity& entity) {
  return {entity.name, entity.join_key, entity.value_type.ToString(), entity.description};
}
std::vector<std::string> Columns(const feature::DataSource& source) {
  return {source.name, source.type, source.path, source.timestamp_field};
}
std::vector<std::string> Columns(const feature::FeatureView& view) {
  return {view.name,
          Join(view.entities, ","),
          std::to_string(view.schema.size()),
          view.ttl > 0 ? FormatDuration(view.ttl) : std::string("unlimited"),
          view.is_window() ? "windows" : "latest row",
          view.is_derived() ? Join(view.source_views, ",") : view.source};
}
std::vector<std::string> Columns(const feature::OnDemandFeatureView& view) {
  return {view.name, Join(view.sources, ","), std::to_string(view.schema.size())};
}
std::vector<std::string> Columns(const feature::FeatureService& service) {
  std::vector<std::string> views;
  for (const auto& projection : service.features) views.push_back(projection.view);
  return {service.name, Join(views, ",")};
}

template <typename Object>
using Member = std::vector<Object> feature::Definitions::*;

template <typename Object>
Status List(Session& session, Member<Object> member, const std::vector<std::string>& header) {
  GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
  const auto& objects = (*store->definitions()).*member;
  if (session.json) {
    ordered_json all = ordered_json::array();
    for (const Object& object : objects) all.push_back(Describe(object));
    Print(all.dump());
    return Status::OK();
  }
  TextTable table{.header = header, .rows = {}};
  for (const Object& object : objects) table.rows.push_back(Columns(object));
  Print(table.Format());
  return Status::OK();
}

template <typename Object>
Status DescribeOne(Session& session, Member<Object> member, const std::string& what,
                   const std::string& name) {
  GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
  auto definitions = store->definitions();
  std::vector<std::string> names;
  for (const Object& object : (*definitions).*member) {
    if (object.name == name) {
      Print(Describe(object).dump(session.json ? -1 : 2));
      return Status::OK();
    }
    names.push_back(object.name);
  }
  return MakeError(ErrorKind::kNotFound, Concat(what, " does not exist: ", Quoted(name)), {},
                   DidYouMean(name, names));
}

template <typename Object>
void AddNoun(CLI::App& app, Action* action, const std::string& command, const std::string& what,
             const std::string& plural, Member<Object> member,
             const std::vector<std::string>& header) {
  CLI::App* noun = app.add_subcommand(command, Concat("List or describe the applied ", plural));
  noun->require_subcommand(1);
  noun->add_subcommand("list", "One line each")->callback([=] {
    *action = [=](Session& session) { return List(session, member, header); };
  });
  auto name = std::make_shared<std::string>();
  CLI::App* describe = noun->add_subcommand("describe", "Everything about one");
  describe->add_option("NAME", *name, "Its name")->required();
  describe->callback([=] {
    *action = [=](Session& session) { return DescribeOne(session, member, what, *name); };
  });
}

}  // namespace

void AddListCommands(CLI::App& app, Action* action) {
  using feature::Definitions;
  AddNoun(app, action, "entities", "entity", "entities", &Definitions::entities,
          {"NAME", "JOIN KEY", "TYPE", "DESCRIPTION"});
  AddNoun(app, action, "data-sources", "data source", "data sources", &Definitions::data_sources,
          {"NAME", "TYPE", "PATH", "TIMESTAMP FIELD"});
  AddNoun(app, action, "feature-views", "feature view", "feature views",
          &Definitions::feature_views, {"NAME", "ENTITIES", "FEATURES", "TTL", "KIND", "SOURCE"});
  AddNoun(app, action, "on-demand-feature-views", "on-demand feature view",
          "on-demand feature views", &Definitions::on_demand_feature_views,
          {"NAME", "SOURCES", "FEATURES"});
  AddNoun(app, action, "feature-services", "feature service", "feature services",
          &Definitions::feature_services, {"NAME", "VIEWS"});
}

}  // namespace gnomon::cli
