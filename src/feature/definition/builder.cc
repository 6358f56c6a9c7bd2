#include "feature/definition/builder.h"

#include "base/time.h"

namespace gnomon::feature {

namespace {

// Keeps the first error and reads the value otherwise.
template <typename Value>
void Take(const Result<Value>& result, Value* value, Status* status) {
  if (result.ok()) {
    *value = *result;
  } else if (status->ok()) {
    *status = result.status();
  }
}

template <typename Object>
Result<Object> Finish(const Object& object, std::string_view kind, const Status& status) {
  GNOMON_RETURN_NOT_OK(WithContext(status, Concat(kind, " ", Quoted(object.name))));
  return object;
}

}  // namespace

EntityBuilder::EntityBuilder(std::string name) {
  entity_.join_key = name;
  entity_.name = std::move(name);
}

EntityBuilder& EntityBuilder::JoinKey(std::string key) {
  entity_.join_key = std::move(key);
  return *this;
}

EntityBuilder& EntityBuilder::Type(std::string_view dtype) {
  Take(ValueType::Parse(dtype), &entity_.value_type, &status_);
  return *this;
}

EntityBuilder& EntityBuilder::Description(std::string text) {
  entity_.description = std::move(text);
  return *this;
}

Result<Entity> EntityBuilder::Build() const { return Finish(entity_, "entity", status_); }

FeatureViewBuilder::FeatureViewBuilder(std::string name) { view_.name = std::move(name); }

FeatureViewBuilder& FeatureViewBuilder::Entities(std::vector<std::string> names) {
  view_.entities = std::move(names);
  return *this;
}

FeatureViewBuilder& FeatureViewBuilder::Source(std::string data_source) {
  view_.source = std::move(data_source);
  return *this;
}

FeatureViewBuilder& FeatureViewBuilder::SourceViews(std::vector<std::string> views) {
  view_.source_views = std::move(views);
  return *this;
}

FeatureViewBuilder& FeatureViewBuilder::Ttl(std::string_view duration) {
  Take(ParseDuration(duration), &view_.ttl, &status_);
  return *this;
}

FeatureViewBuilder& FeatureViewBuilder::Online(bool online) {
  view_.online = online;
  return *this;
}

FeatureViewBuilder& FeatureViewBuilder::Feature(std::string name, std::string_view dtype) {
  Field field;
  field.name = std::move(name);
  if (!dtype.empty()) Take(ValueType::Parse(dtype), &field.dtype, &status_);
  view_.schema.push_back(std::move(field));
  return *this;
}

FeatureViewBuilder& FeatureViewBuilder::Filter(std::string expression) {
  view_.filter = std::move(expression);
  return *this;
}

FeatureViewBuilder& FeatureViewBuilder::Transform(std::string name, std::string expression) {
  view_.transformations.push_back({std::move(name), std::move(expression)});
  return *this;
}

FeatureViewBuilder& FeatureViewBuilder::Aggregate(std::string column, std::string_view function,
                                                  std::string_view window, std::string name,
                                                  int64_t k) {
  Aggregation aggregation;
  aggregation.column = std::move(column);
  aggregation.name = std::move(name);
  aggregation.k = k;
  Take(pit::ParseAggregateFunction(function), &aggregation.function, &status_);
  if (!window.empty()) {
    int64_t micros = 0;
    Take(ParseDuration(window), &micros, &status_);
    aggregation.time_window = micros;
  }
  if (aggregation.name.empty()) aggregation.name = DefaultName(aggregation);
  view_.aggregations.push_back(std::move(aggregation));
  return *this;
}

FeatureViewBuilder& FeatureViewBuilder::PluginAggregate(std::string column, std::string function,
                                                        std::string_view window, std::string name) {
  Aggregate(std::move(column), "count", window, std::move(name));
  Aggregation& aggregation = view_.aggregations.back();
  const bool named = aggregation.name != DefaultName(aggregation);
  aggregation.function = pit::AggregateFunction::kCustom;
  aggregation.custom.name = std::move(function);
  if (!named) aggregation.name = DefaultName(aggregation);
  return *this;
}

FeatureViewBuilder& FeatureViewBuilder::Tag(std::string key, std::string value) {
  view_.tags.insert_or_assign(std::move(key), std::move(value));
  return *this;
}

Result<FeatureView> FeatureViewBuilder::Build() const {
  return Finish(view_, "feature view", status_);
}

OnDemandFeatureViewBuilder::OnDemandFeatureViewBuilder(std::string name) {
  view_.name = std::move(name);
}

OnDemandFeatureViewBuilder& OnDemandFeatureViewBuilder::Sources(std::vector<std::string> views) {
  view_.sources = std::move(views);
  return *this;
}

OnDemandFeatureViewBuilder& OnDemandFeatureViewBuilder::Request(std::string name,
                                                                std::string_view dtype) {
  Field field;
  field.name = std::move(name);
  Take(ValueType::Parse(dtype), &field.dtype, &status_);
  view_.request_schema.push_back(std::move(field));
  return *this;
}

OnDemandFeatureViewBuilder& OnDemandFeatureViewBuilder::Feature(std::string name,
                                                                std::string_view dtype,
                                                                std::string expression) {
  Field field;
  field.name = name;
  if (!dtype.empty()) Take(ValueType::Parse(dtype), &field.dtype, &status_);
  view_.schema.push_back(std::move(field));
  view_.expressions.push_back({std::move(name), std::move(expression)});
  return *this;
}

Result<OnDemandFeatureView> OnDemandFeatureViewBuilder::Build() const {
  return Finish(view_, "on demand feature view", status_);
}

}  // namespace gnomon::feature
