#include "feature/definition/definition_format.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "base/text.h"
#include "base/time.h"

namespace gnomon::feature {

namespace {

// Words that YAML, or one of its older versions, takes for something else than a text.
constexpr std::array<std::string_view, 10> kReserved = {"true", "false", "yes", "no", "on",
                                                        "off",  "null",  "y",   "n",  "nan"};

bool IsPlain(const std::string& text) {
  const auto is_letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  const auto is_inner = [&](char c) {
    return is_letter(c) || (c >= '0' && c <= '9') || c == '.' || c == '/' || c == '-';
  };
  return !text.empty() && is_letter(text[0]) && std::ranges::all_of(text, is_inner) &&
         std::ranges::find(kReserved, ToLower(text)) == kReserved.end();
}

std::string Quote(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (c == '\t') {
      quoted += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      std::array<char, 8> code = {};
      std::snprintf(code.data(), code.size(), "\\x%02x", byte);
      quoted += code.data();
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

std::string KeyText(const std::string& text) { return IsPlain(text) ? text : Quote(text); }

// A dollar sign would begin the name of an environment variable.
std::string ValueText(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    escaped += c;
    if (c == '$') escaped += c;
  }
  return KeyText(escaped);
}

std::string ListText(const std::vector<std::string>& items) {
  std::vector<std::string> texts;
  for (const std::string& item : items) texts.push_back(ValueText(item));
  return Concat("[", Join(texts, ", "), "]");
}

std::string MapText(const std::map<std::string, std::string>& items) {
  std::vector<std::string> texts;
  for (const auto& [key, value] : items)
    texts.push_back(Concat(KeyText(key), ": ", ValueText(value)));
  return Concat("{", Join(texts, ", "), "}");
}

// The members of a mapping that say something, in order.
class Members {
 public:
  Members& Raw(std::string_view key, const std::string& text) {
    texts_.push_back(Concat(key, text.starts_with('\n') ? ":" : ": ", text));
    return *this;
  }
  Members& Text(std::string_view key, const std::string& value) {
    return value.empty() ? *this : Raw(key, ValueText(value));
  }
  Members& List(std::string_view key, const std::vector<std::string>& items) {
    return items.empty() ? *this : Raw(key, ListText(items));
  }
  Members& Map(std::string_view key, const std::map<std::string, std::string>& items) {
    return items.empty() ? *this : Raw(key, MapText(items));
  }
  Members& Type(std::string_view key, const ValueType& type) {
    return type.base == ValueType::kInvalid ? *this : Raw(key, type.ToString());
  }
  Members& Duration(std::string_view key, const std::optional<int64_t>& micros) {
    return micros ? Raw(key, FormatDuration(*micros)) : *this;
  }
  template <typename Object>
  Members& Common(const Object& object) {
    return Text("description", object.description)
        .Map("tags", object.tags)
        .Text("owner", object.owner);
  }

  std::string Inline() const { return Concat("{", Join(texts_, ", "), "}"); }
  // One a line, as an element of a list.
  std::string Lines() const { return Concat("  - ", Join(texts_, "\n    "), "\n"); }

 private:
  std::vector<std::string> texts_;
};

// Elements below a key of an object, one a line.
std::string Nested(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += Concat("\n      - ", item);
  return text;
}

Members Of(const Field& field) {
  Members members;
  members.Text("name", field.name).Type("dtype", field.dtype);
  return members;
}

std::string FieldText(const Field& field) {
  return Of(field).Text("description", field.description).Map("tags", field.tags).Inline();
}

void AddFields(std::string_view key, const std::vector<Field>& fields, Members* members) {
  std::vector<std::string> items;
  for (const Field& field : fields) items.push_back(FieldText(field));
  if (!items.empty()) members->Raw(key, Nested(items));
}

// Enough digits for the same number.
std::string NumberText(double value) {
  std::array<char, 40> text = {};
  std::snprintf(text.data(), text.size(), "%.17g", value);
  return text.data();
}

std::string AggregationText(const Aggregation& aggregation) {
  using pit::AggregateFunction;
  Members members;
  members.Text("column", aggregation.column)
      .Text("function", FunctionName(aggregation))
      .Duration("time_window", aggregation.time_window)
      .Duration("slide_interval", aggregation.slide_interval)
      .Text("name", aggregation.name);
  const auto function = aggregation.function;
  if (function == AggregateFunction::kLastK) members.Raw("k", std::to_string(aggregation.k));
  if (function == AggregateFunction::kQuantile)
    members.Raw("quantile", NumberText(aggregation.quantile));
  if (function == AggregateFunction::kStd || function == AggregateFunction::kVar)
    members.Raw("ddof", std::to_string(aggregation.ddof));
  return members.Inline();
}

std::string Text(const Entity& entity) {
  return Members()
      .Text("name", entity.name)
      .List("join_keys", {entity.join_key})
      .Type("value_type", entity.value_type)
      .Common(entity)
      .Lines();
}

std::string Text(const DataSource& source) {
  return Members()
      .Text("name", source.name)
      .Text("type", source.type)
      .Text("path", source.path)
      .Text("table", source.table)
      .Text("query", source.query)
      .Text("file_format", source.file_format)
      .Text("s3_endpoint_override", source.s3_endpoint_override)
      .Text("timestamp_field", source.timestamp_field)
      .Text("created_timestamp_column", source.created_timestamp_column)
      .Map("field_mapping", source.field_mapping)
      .Common(source)
      .Lines();
}

std::string Text(const FeatureView& view) {
  Members members;
  members.Text("name", view.name)
      .List("entities", view.entities)
      .Text("source", view.source)
      .List("source_views", view.source_views)
      .Text("sink_source", view.sink_source)
      .Text("push_source", view.push_source);
  if (view.ttl != 0) members.Duration("ttl", view.ttl);
  if (!view.online) members.Raw("online", "false");
  members.Text("filter", view.filter);
  std::vector<std::string> steps;
  for (const Transformation& step : view.transformations) {
    steps.push_back(Members().Text("name", step.name).Text("expression", step.expression).Inline());
  }
  if (!steps.empty()) members.Raw("transformations", Nested(steps));
  std::vector<std::string> aggregations;
  for (const Aggregation& each : view.aggregations) aggregations.push_back(AggregationText(each));
  if (!aggregations.empty()) members.Raw("aggregations", Nested(aggregations));
  AddFields("schema", view.schema, &members);
  return members.Common(view).Lines();
}

std::string Text(const OnDemandFeatureView& view) {
  Members members;
  members.Text("name", view.name).List("sources", view.sources);
  AddFields("request", view.request_schema, &members);
  std::vector<std::string> features;
  for (size_t i = 0; i < view.schema.size(); ++i) {
    features.push_back(Of(view.schema[i])
                           .Text("expression", view.expressions[i].expression)
                           .Text("description", view.schema[i].description)
                           .Map("tags", view.schema[i].tags)
                           .Inline());
  }
  if (!features.empty()) members.Raw("features", Nested(features));
  if (view.write_to_online_store) members.Raw("write_to_online_store", "true");
  return members.Common(view).Lines();
}

std::string Text(const FeatureService& service) {
  std::vector<std::string> projections;
  for (const Projection& each : service.features) {
    projections.push_back(Members()
                              .Text("view", each.view)
                              .Text("name_alias", each.name_alias)
                              .List("features", each.features)
                              .Map("join_key_map", each.join_key_map)
                              .Inline());
  }
  Members members;
  members.Text("name", service.name);
  if (!projections.empty()) members.Raw("features", Nested(projections));
  return members.Common(service).Lines();
}

template <typename Object>
void AddSection(std::string_view key, const std::vector<Object>& objects, std::string* text) {
  if (objects.empty()) return;
  *text += Concat(key, ":\n");
  for (const Object& object : objects) *text += Text(object);
}

}  // namespace

std::string FormatDefinitions(const Definitions& definitions) {
  std::string text;
  AddSection("entities", definitions.entities, &text);
  AddSection("data_sources", definitions.data_sources, &text);
  AddSection("feature_views", definitions.feature_views, &text);
  AddSection("on_demand_feature_views", definitions.on_demand_feature_views, &text);
  AddSection("feature_services", definitions.feature_services, &text);
  return text;
}

}  // namespace gnomon::feature
