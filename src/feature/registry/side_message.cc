#include <algorithm>
#include <set>
#include <utility>

#include "feature/registry/feast_message_internal.h"

namespace gnomon::feature {

namespace {

gnomon::proto::SideField SideOf(const Field& field) {
  gnomon::proto::SideField message;
  message.set_name(field.name);
  message.set_value_type(field.dtype.FeastNumber());
  message.set_description(field.description);
  message.mutable_tags()->insert(field.tags.begin(), field.tags.end());
  return message;
}

Result<Field> FieldOf(const gnomon::proto::SideField& message) {
  ValueType type;
  if (message.value_type() != 0) {
    GNOMON_ASSIGN_OR_RETURN(type, ValueType::FromFeastNumber(message.value_type()));
  }
  return Field{
      message.name(), type, message.description(), {message.tags().begin(), message.tags().end()}};
}

gnomon::proto::SideOnDemandView SideOf(const OnDemandFeatureView& view) {
  gnomon::proto::SideOnDemandView message;
  message.set_name(view.name);
  for (const std::string& source : view.sources) message.add_sources(source);
  for (const Field& field : view.request_schema) *message.add_request() = SideOf(field);
  for (size_t i = 0; i < view.schema.size(); ++i) {
    auto* feature = message.add_features();
    *feature->mutable_field() = SideOf(view.schema[i]);
    feature->set_expression(view.expressions[i].expression);
  }
  message.set_description(view.description);
  message.mutable_tags()->insert(view.tags.begin(), view.tags.end());
  message.set_owner(view.owner);
  return message;
}

void WriteOnDemandViews(const Definitions& wanted, int64_t now, gnomon::proto::SideProject* side) {
  google::protobuf::RepeatedPtrField<gnomon::proto::SideOnDemandView> before;
  before.Swap(side->mutable_on_demand_views());
  for (const OnDemandFeatureView& view : wanted.on_demand_feature_views) {
    gnomon::proto::SideOnDemandView* message = side->add_on_demand_views();
    *message = SideOf(view);
    message->set_created(now);
    message->set_last_updated(now);
    const auto old = std::ranges::find(before, view.name,
                                       [](const auto& item) -> const auto& { return item.name(); });
    if (old == before.end()) continue;
    message->set_created(old->created());
    const auto read = ReadOnDemandView(*old);
    if (read.ok() && *read == view) message->set_last_updated(old->last_updated());
  }
}

void WriteServices(const Definitions& wanted, gnomon::proto::SideProject* side) {
  side->clear_services();
  for (const FeatureService& service : wanted.feature_services) {
    gnomon::proto::SideService message;
    message.set_name(service.name);
    for (size_t i = 0; i < service.features.size(); ++i) {
      const Projection& projection = service.features[i];
      if (wanted.FindFeatureView(projection.view) != nullptr) continue;
      auto* extra = message.add_projections();
      extra->set_position(static_cast<int32_t>(i));
      extra->set_view(projection.view);
      extra->set_name_alias(projection.name_alias);
      for (const std::string& feature : projection.features) extra->add_features(feature);
    }
    if (message.projections_size() > 0) *side->add_services() = std::move(message);
  }
}

}  // namespace

void WriteSide(const Definitions& wanted, int64_t now, gnomon::proto::SideProject* side) {
  WriteOnDemandViews(wanted, now, side);
  WriteServices(wanted, side);
  side->clear_plugins();
  for (const PluginUse& plugin : wanted.plugins) {
    gnomon::proto::SidePlugin* message = side->add_plugins();
    message->set_path(plugin.path);
    message->set_id(plugin.id);
    for (const std::string& name : plugin.functions) message->add_functions(name);
    for (const std::string& name : plugin.aggregates) message->add_aggregates(name);
  }
}

std::vector<PluginUse> ReadPlugins(const gnomon::proto::SideProject& side) {
  std::vector<PluginUse> plugins;
  for (const auto& message : side.plugins()) {
    plugins.push_back({.path = message.path(),
                       .id = message.id(),
                       .functions = {message.functions().begin(), message.functions().end()},
                       .aggregates = {message.aggregates().begin(), message.aggregates().end()}});
  }
  return plugins;
}

Result<OnDemandFeatureView> ReadOnDemandView(const gnomon::proto::SideOnDemandView& message) {
  OnDemandFeatureView view;
  view.name = message.name();
  view.sources.assign(message.sources().begin(), message.sources().end());
  for (const auto& item : message.request()) {
    GNOMON_ASSIGN_OR_RETURN(Field field, FieldOf(item));
    view.request_schema.push_back(std::move(field));
  }
  for (const auto& item : message.features()) {
    GNOMON_ASSIGN_OR_RETURN(Field field, FieldOf(item.field()));
    view.expressions.push_back({field.name, item.expression()});
    view.schema.push_back(std::move(field));
  }
  view.description = message.description();
  view.tags = {message.tags().begin(), message.tags().end()};
  view.owner = message.owner();
  return view;
}

}  // namespace gnomon::feature
