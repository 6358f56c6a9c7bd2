#include <algorithm>
#include <set>
#include <utility>

#include "base/ids.h"
#include "feature/registry/feast_message_internal.h"
#include "feature/registry/message_identity_internal.h"

namespace gnomon::feature {

namespace {

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
      return MakeError(
          ErrorKind::kConflict,
          Concat("the registry holds a Feast view with Python functions, streams or labels "
                 "named ",
                 Quoted(NameOfMessage(view))),
          {}, "delete it with `feast delete`, or choose another name");
    }
    return Status::OK();
  };
  GNOMON_RETURN_NOT_OK(taken(registry.on_demand_feature_views()));
  GNOMON_RETURN_NOT_OK(taken(registry.label_views()));
  return taken(registry.stream_feature_views());
}

// A service of nothing but Feast's own views is Feast's, until definitions name it.
bool IsOurs(const feast::core::FeatureService& service, const Definitions& wanted,
            const std::set<std::string>& foreign) {
  const auto& parts = service.spec().features();
  return wanted.FindFeatureService(service.spec().name()) != nullptr || parts.empty() ||
         !std::ranges::all_of(parts, [&](const auto& projection) {
           return foreign.contains(projection.feature_view_name());
         });
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

}  // namespace

Status WriteDefinitions(const Definitions& wanted, const std::string& project, int64_t now,
                        const std::vector<std::string>& stale_views,
                        feast::core::Registry* registry) {
  GNOMON_RETURN_NOT_OK(CheckForeignViews(wanted, project, *registry));
  std::vector<std::string> notes;
  const std::set<std::string> foreign =
      ForeignViews(*registry, project, ReadDefinitions(*registry, nullptr, project, &notes));
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
        WriteFeatureService(wanted, foreign, service, message->mutable_spec());
        message->mutable_spec()->set_project(project);
      },
      [&](const feast::core::FeatureService& message) { return IsOurs(message, wanted, foreign); });
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
  EraseProject(project, registry->mutable_label_views());
  EraseProject(project, registry->mutable_validation_references());
  EraseProject(project, registry->mutable_permissions());
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
