#include <algorithm>
#include <set>
#include <utility>

#include "base/ids.h"
#include "feature/registry/feast_message_internal.h"

namespace gnomon::feature {

namespace {

// Name and project of each kind of message; a data source has them itself, the others in `spec`.
template <typename Message>
const std::string& NameOfMessage(const Message& message) {
  return message.spec().name();
}
const std::string& NameOfMessage(const feast::core::DataSource& message) { return message.name(); }

template <typename Message>
const std::string& ProjectOf(const Message& message) {
  return message.spec().project();
}
const std::string& ProjectOf(const feast::core::DataSource& message) { return message.project(); }

template <typename Message>
void EraseProject(const std::string& project, google::protobuf::RepeatedPtrField<Message>* list) {
  list->erase(std::remove_if(list->begin(), list->end(),
                             [&](const Message& message) { return ProjectOf(message) == project; }),
              list->end());
}

// Writes `objects` over the project's messages: those of a known name are changed in place and keep
// what `write` does not know of (one that definitions cannot hold is begun anew); those that are
// not wanted go when `is_ours` says that definitions can hold them.
template <typename Message, typename Object, typename Write, typename IsOurs>
void Reconcile(const std::vector<Object>& objects, const std::string& project, int64_t now,
               google::protobuf::RepeatedPtrField<Message>* list, Write write, IsOurs is_ours) {
  google::protobuf::RepeatedPtrField<Message> kept;
  std::map<std::string, Message> mine;
  for (Message& message : *list) {
    const bool wanted =
        std::ranges::find(objects, NameOfMessage(message), &Object::name) != objects.end();
    if (ProjectOf(message) != project || (!wanted && !is_ours(message))) {
      kept.Add()->Swap(&message);
    } else if (wanted && is_ours(message)) {
      std::string name = NameOfMessage(message);
      mine[std::move(name)].Swap(&message);
    }
  }
  for (const Object& object : objects) {
    Message message = mine[object.name];
    const std::string before = SerializeMessage(message);
    const bool is_new = before.empty();
    write(object, &message);
    if (SerializeMessage(message) != before) {
      auto* meta = message.mutable_meta();
      if (is_new) SetMicros(now, meta->mutable_created_timestamp());
      SetMicros(now, meta->mutable_last_updated_timestamp());
    }
    kept.Add()->Swap(&message);
  }
  list->Swap(&kept);
}

Status CheckForeignViews(const Definitions& wanted, const std::string& project,
                         const feast::core::Registry& registry) {
  const auto taken = [&](const auto& views) -> Status {
    const std::vector<std::string> names = wanted.ViewNames();
    for (const auto& view : views) {
      if (ProjectOf(view) != project) continue;
      if (std::ranges::find(names, NameOfMessage(view)) == names.end()) continue;
      return MakeError(ErrorKind::kConflict,
                       Concat("the registry holds a Feast view with Python functions or streams "
                              "named ",
                              Quoted(NameOfMessage(view))),
                       {}, "delete it with `feast delete`, or choose another name");
    }
    return Status::OK();
  };
  GNOMON_RETURN_NOT_OK(taken(registry.on_demand_feature_views()));
  return taken(registry.stream_feature_views());
}

void WriteProject(const std::string& project, int64_t now, feast::core::Registry* registry) {
  const bool has_project = std::ranges::any_of(
      registry->projects(), [&](const auto& item) { return item.spec().name() == project; });
  if (!has_project) {
    auto* message = registry->add_projects();
    message->mutable_spec()->set_name(project);
    SetMicros(now, message->mutable_meta()->mutable_created_timestamp());
    SetMicros(now, message->mutable_meta()->mutable_last_updated_timestamp());
  }
  const bool has_metadata = std::ranges::any_of(
      registry->project_metadata(), [&](const auto& item) { return item.project() == project; });
  if (!has_metadata) {
    auto* metadata = registry->add_project_metadata();
    metadata->set_project(project);
    metadata->set_project_uuid(RandomUuid());
  }
}

// Feast's placeholder is there while a view without entities is.
void WriteDummyEntity(const Definitions& wanted, const std::string& project, int64_t now,
                      feast::core::Registry* registry) {
  const bool needed = std::ranges::any_of(
      wanted.feature_views, [](const FeatureView& view) { return view.entities.empty(); });
  const bool there = std::ranges::any_of(registry->entities(), [&](const auto& entity) {
    return ProjectOf(entity) == project && entity.spec().name() == kDummyEntity;
  });
  if (!needed || there) return;
  auto* entity = registry->add_entities();
  entity->mutable_spec()->set_name(std::string(kDummyEntity));
  entity->mutable_spec()->set_join_key(std::string(kDummyKey));
  entity->mutable_spec()->set_project(project);
  SetMicros(now, entity->mutable_meta()->mutable_created_timestamp());
  SetMicros(now, entity->mutable_meta()->mutable_last_updated_timestamp());
}

void DropIntervals(const std::string& project, const std::vector<std::string>& views,
                   feast::core::Registry* registry) {
  for (auto& view : *registry->mutable_feature_views()) {
    if (ProjectOf(view) != project) continue;
    if (std::ranges::find(views, NameOfMessage(view)) == views.end()) continue;
    view.mutable_meta()->clear_materialization_intervals();
    view.mutable_meta()->set_state(feast::core::STATE_UNSPECIFIED);
  }
}

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
    } else {
      Note("data source", message.name(), source.status(), notes);
    }
  }
  for (const auto& message : registry.feature_views()) {
    if (ProjectOf(message) != project) continue;
    auto view = ReadFeatureView(message.spec());
    if (!view.ok()) {
      Note("feature view", message.spec().name(), view.status(), notes);
      continue;
    }
    AddEmbeddedSource(message.spec(), &definitions);
    definitions.feature_views.push_back(std::move(*view));
  }
  DropOrphans(&definitions, notes);
  for (const auto& message : registry.feature_services()) {
    if (ProjectOf(message) != project) continue;
    auto service = ReadFeatureService(definitions, message.spec());
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

Status WriteDefinitions(const Definitions& wanted, const std::string& project, int64_t now,
                        const std::vector<std::string>& stale_views,
                        feast::core::Registry* registry) {
  GNOMON_RETURN_NOT_OK(CheckForeignViews(wanted, project, *registry));
  WriteProject(project, now, registry);
  Reconcile(
      wanted.entities, project, now, registry->mutable_entities(),
      [&](const Entity& entity, feast::core::Entity* message) {
        WriteEntity(entity, message->mutable_spec());
        message->mutable_spec()->set_project(project);
      },
      [](const feast::core::Entity& message) {
        return message.spec().name() != kDummyEntity && ReadEntity(message.spec()).ok();
      });
  Reconcile(
      wanted.data_sources, project, now, registry->mutable_data_sources(),
      [&](const DataSource& source, feast::core::DataSource* message) {
        WriteDataSource(source, message);
        message->set_project(project);
      },
      [](const feast::core::DataSource& message) { return ReadDataSource(message).ok(); });
  Reconcile(
      wanted.feature_views, project, now, registry->mutable_feature_views(),
      [&](const FeatureView& view, feast::core::FeatureView* message) {
        WriteFeatureView(wanted, view, message->mutable_spec());
        message->mutable_spec()->set_project(project);
      },
      [](const feast::core::FeatureView& message) { return ReadFeatureView(message.spec()).ok(); });
  Reconcile(
      wanted.feature_services, project, now, registry->mutable_feature_services(),
      [&](const FeatureService& service, feast::core::FeatureService* message) {
        WriteFeatureService(wanted, service, message->mutable_spec());
        message->mutable_spec()->set_project(project);
      },
      [](const feast::core::FeatureService&) { return true; });
  WriteDummyEntity(wanted, project, now, registry);
  DropIntervals(project, stale_views, registry);
  return Status::OK();
}

void RemoveProject(const std::string& project, feast::core::Registry* registry) {
  EraseProject(project, registry->mutable_entities());
  EraseProject(project, registry->mutable_data_sources());
  EraseProject(project, registry->mutable_feature_views());
  EraseProject(project, registry->mutable_feature_services());
  EraseProject(project, registry->mutable_on_demand_feature_views());
  EraseProject(project, registry->mutable_stream_feature_views());
  auto* projects = registry->mutable_projects();
  projects->erase(std::remove_if(projects->begin(), projects->end(),
                                 [&](const auto& item) { return item.spec().name() == project; }),
                  projects->end());
  auto* metadata = registry->mutable_project_metadata();
  metadata->erase(std::remove_if(metadata->begin(), metadata->end(),
                                 [&](const auto& item) { return item.project() == project; }),
                  metadata->end());
}

}  // namespace gnomon::feature
