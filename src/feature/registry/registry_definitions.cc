#include <algorithm>
#include <set>
#include <utility>

#include "feature/registry/feast_message_internal.h"
#include "feature/registry/message_identity_internal.h"

namespace gnomon::feature {

namespace {

// A Feast entity may have no type of its own: its views know it.
ValueType TypeOfJoinKey(const feast::core::Registry& registry, const std::string& project,
                        const std::string& entity, const std::string& join_key) {
  for (const auto& view : registry.feature_views()) {
    if (ProjectOf(view) != project) continue;
    const auto& entities = view.spec().entities();
    if (std::ranges::find(entities, entity) == entities.end()) continue;
    for (const auto& column : view.spec().entity_columns()) {
      if (column.name() != join_key) continue;
      const auto type = ValueType::FromFeastNumber(column.value_type());
      if (type.ok()) return *type;
    }
  }
  return Entity{}.value_type;
}

void Note(std::string_view kind, const std::string& name, const Status& status,
          std::vector<std::string>* notes) {
  notes->push_back(Concat(kind, " ", Quoted(name), ": ", status.message()));
}

// Adds the side file's views, again and again while one brings the source of another. What refers
// to nothing is left out: Feast's tools may have deleted it.
void ReadOnDemandViews(const gnomon::proto::SideProject& side, Definitions* definitions,
                       std::vector<std::string>* notes) {
  std::vector<OnDemandFeatureView> views;
  std::set<std::string> names;
  for (const FeatureView& view : definitions->feature_views) names.insert(view.name);
  for (const auto& message : side.on_demand_views()) {
    auto view = ReadOnDemandView(message);
    if (!view.ok()) {
      Note("on demand feature view", message.name(), view.status(), notes);
    } else if (!names.insert(view->name).second) {
      notes->push_back(
          Concat("on demand feature view ", Quoted(view->name), ": a feature view has its name"));
    } else {
      views.push_back(std::move(*view));
    }
  }
  for (bool again = true; again;) {
    again = false;
    for (auto view = views.begin(); view != views.end() && !again; ++view) {
      const auto lost = std::ranges::find_if(
          view->sources, [&](const std::string& source) { return !names.contains(source); });
      if (lost == view->sources.end()) continue;
      notes->push_back(Concat("on demand feature view ", Quoted(view->name), ": its source ",
                              Quoted(*lost), " is gone"));
      names.erase(view->name);
      views.erase(view);
      again = true;
    }
  }
  definitions->on_demand_feature_views = std::move(views);
}

void ReadSideServices(const gnomon::proto::SideProject& side, Definitions* definitions,
                      std::vector<std::string>* notes) {
  for (const auto& message : side.services()) {
    const auto service =
        std::ranges::find(definitions->feature_services, message.name(), &FeatureService::name);
    if (service == definitions->feature_services.end()) {
      notes->push_back(Concat("feature service ", Quoted(message.name()), " is gone"));
      continue;
    }
    for (const auto& extra : message.projections()) {
      if (definitions->FindOnDemandFeatureView(extra.view()) == nullptr) {
        notes->push_back(Concat("feature service ", Quoted(message.name()), ": its view ",
                                Quoted(extra.view()), " is gone"));
        continue;
      }
      Projection projection{
          extra.view(), extra.name_alias(), {extra.features().begin(), extra.features().end()}, {}};
      const auto end = static_cast<int32_t>(service->features.size());
      service->features.insert(service->features.begin() + std::clamp(extra.position(), 0, end),
                               std::move(projection));
    }
  }
}

// Feast keeps a copy of the source in each view; one that is nowhere else is taken from there.
void AddEmbeddedSource(const feast::core::FeatureViewSpec& spec, Definitions* definitions) {
  auto source = ReadDataSource(spec.batch_source());
  if (source.ok() && definitions->FindDataSource(source->name) == nullptr) {
    definitions->data_sources.push_back(std::move(*source));
  }
}

// Push sources are told by their views, request sources belong to on-demand views.
bool IsToldElsewhere(const feast::core::DataSource& message, const feast::core::Registry& registry,
                     const std::string& project) {
  using feast::core::DataSource;
  if (message.type() == DataSource::REQUEST_SOURCE) return true;
  if (message.type() != DataSource::PUSH_SOURCE) return false;
  return std::ranges::any_of(registry.feature_views(), [&](const auto& view) {
    const auto& stream = view.spec().stream_source();
    return ProjectOf(view) == project && stream.type() == DataSource::PUSH_SOURCE &&
           stream.name() == message.name();
  });
}

// Views that run Python or read streams.
void NoteForeignViews(const feast::core::Registry& registry, const std::string& project,
                      std::vector<std::string>* notes) {
  for (const auto& view : registry.on_demand_feature_views()) {
    if (ProjectOf(view) != project) continue;
    notes->push_back(Concat("on demand feature view ", Quoted(NameOfMessage(view)),
                            ": its Python function does not run here; write it as expressions"));
  }
  for (const auto& view : registry.stream_feature_views()) {
    if (ProjectOf(view) != project) continue;
    notes->push_back(Concat("stream feature view ", Quoted(NameOfMessage(view)),
                            ": streams are not read here; push its rows to a feature view"));
  }
  for (const auto& view : registry.label_views()) {
    if (ProjectOf(view) != project) continue;
    notes->push_back(Concat("label view ", Quoted(NameOfMessage(view)),
                            ": labels are not kept here; join them with `gnomon asof`"));
  }
}

// Views over views that could not be read are left out too.
void DropOrphans(Definitions* definitions, std::vector<std::string>* notes) {
  for (bool dropped = true; dropped;) {
    dropped = false;
    for (auto view = definitions->feature_views.begin();
         !dropped && view != definitions->feature_views.end(); ++view) {
      const auto missing = std::ranges::find_if(view->source_views, [&](const std::string& name) {
        return definitions->FindFeatureView(name) == nullptr;
      });
      if (missing == view->source_views.end()) continue;
      notes->push_back(Concat("feature view ", Quoted(view->name), ": its source view ",
                              Quoted(*missing), " is not readable"));
      definitions->feature_views.erase(view);
      dropped = true;
    }
  }
}

}  // namespace

std::set<std::string> ForeignViews(const feast::core::Registry& registry,
                                   const std::string& project, const Definitions& definitions) {
  std::set<std::string> names;
  const auto add = [&](const auto& views) {
    for (const auto& view : views) {
      if (ProjectOf(view) == project && definitions.FindFeatureView(NameOfMessage(view)) == nullptr)
        names.insert(NameOfMessage(view));
    }
  };
  add(registry.feature_views());
  add(registry.on_demand_feature_views());
  add(registry.stream_feature_views());
  add(registry.label_views());
  return names;
}

Definitions ReadDefinitions(const feast::core::Registry& registry,
                            const gnomon::proto::SideProject* side, const std::string& project,
                            std::vector<std::string>* notes) {
  Definitions definitions;
  for (const auto& message : registry.entities()) {
    if (ProjectOf(message) != project || message.spec().name() == kDummyEntity) continue;
    auto entity = ReadEntity(message.spec());
    if (!entity.ok()) {
      Note("entity", message.spec().name(), entity.status(), notes);
      continue;
    }
    if (entity->value_type.base == ValueType::kInvalid) {
      entity->value_type = TypeOfJoinKey(registry, project, entity->name, entity->join_key);
    }
    definitions.entities.push_back(std::move(*entity));
  }
  for (const auto& message : registry.data_sources()) {
    if (message.project() != project) continue;
    auto source = ReadDataSource(message);
    if (source.ok()) {
      definitions.data_sources.push_back(std::move(*source));
    } else if (!IsToldElsewhere(message, registry, project)) {
      Note("data source", message.name(), source.status(), notes);
    }
  }
  for (const auto& message : registry.feature_views()) {
    if (ProjectOf(message) != project) continue;
    auto view = ReadFeatureView(message.spec(), notes);
    if (!view.ok()) {
      Note("feature view", message.spec().name(), view.status(), notes);
      continue;
    }
    AddEmbeddedSource(message.spec(), &definitions);
    definitions.feature_views.push_back(std::move(*view));
  }
  DropOrphans(&definitions, notes);
  const std::set<std::string> foreign = ForeignViews(registry, project, definitions);
  for (const auto& message : registry.feature_services()) {
    if (ProjectOf(message) != project) continue;
    auto service = ReadFeatureService(definitions, foreign, message.spec());
    if (service.ok()) {
      definitions.feature_services.push_back(std::move(*service));
    } else {
      Note("feature service", message.spec().name(), service.status(), notes);
    }
  }
  NoteForeignViews(registry, project, notes);
  if (side != nullptr) {
    ReadOnDemandViews(*side, &definitions, notes);
    ReadSideServices(*side, &definitions, notes);
    definitions.plugins = ReadPlugins(*side);
  }
  return definitions;
}

}  // namespace gnomon::feature
