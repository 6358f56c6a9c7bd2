#include <algorithm>

#include "feature/registry/feast_message_internal.h"
#include "feature/registry/message_identity_internal.h"

namespace gnomon::feature {

namespace {

using Lines = std::vector<std::string>;

void TellProject(const feast::core::Registry& registry, const std::string& project, Lines* lines) {
  for (const auto& message : registry.projects()) {
    const auto& spec = message.spec();
    if (spec.name() != project) continue;
    if (spec.description().empty() && spec.tags().empty() && spec.owner().empty()) continue;
    lines->push_back(Concat("project ", Quoted(project),
                            ": its description, tags and owner stay in the registry"));
  }
}

/// Entities whose type nobody knows.
void TellEntities(const feast::core::Registry& registry, const std::string& project,
                  const Definitions& definitions, Lines* lines) {
  for (const auto& message : registry.entities()) {
    const auto& spec = message.spec();
    if (ProjectOf(message) != project || spec.value_type() != 0) continue;
    const bool is_used = std::ranges::any_of(definitions.feature_views, [&](const auto& view) {
      return std::ranges::count(view.entities, spec.name()) > 0;
    });
    const Entity* entity = definitions.FindEntity(spec.name());
    if (entity == nullptr || is_used) continue;
    lines->push_back(Concat("entity ", Quoted(spec.name()), ": it has no value_type in Feast; ",
                            entity->value_type.ToString(), " is assumed"));
  }
}

void TellView(const Definitions& definitions, const feast::core::FeatureViewSpec& spec,
              Lines* lines) {
  const std::string view = Concat("feature view ", Quoted(spec.name()), ": ");
  if (spec.disabled()) {
    lines->push_back(Concat(view,
                            "it is disabled in Feast and works here; delete it from "
                            "features.yaml where it must not"));
  }
  const auto& stream = spec.stream_source();
  if (spec.has_stream_source() && stream.type() != feast::core::DataSource::PUSH_SOURCE) {
    lines->push_back(Concat(view, "its stream ", Quoted(stream.name()),
                            " is not read here; its batch source is, and rows can be pushed"));
  }
  const FeatureView& known = *definitions.FindFeatureView(spec.name());
  if (known.is_derived() && IsForeignSink(definitions, known, spec)) {
    lines->push_back(Concat(view, "its sink ", Quoted(spec.batch_source().name()),
                            " is not written here; its rows are made when they are asked for"));
  }
  for (const auto& feature : spec.features()) {
    if (!feature.vector_index()) continue;
    lines->push_back(Concat(view, "feature ", Quoted(feature.name()),
                            " has a vector index; it is stored and served, not searched here"));
  }
}

void TellService(const feast::core::FeatureServiceSpec& spec, Lines* lines) {
  const std::string service = Concat("feature service ", Quoted(spec.name()), ": ");
  if (spec.has_logging_config())
    lines->push_back(Concat(service, "what is served is not logged here"));
  if (spec.precompute_online()) {
    lines->push_back(Concat(service, "it is not precomputed here; its views' rows are read"));
  }
  for (const auto& projection : spec.features()) {
    if (!projection.has_version_tag()) continue;
    lines->push_back(Concat(service, "version ", projection.version_tag(), " of view ",
                            Quoted(projection.feature_view_name()), "; the newest is taken here"));
  }
}

}  // namespace

bool IsForeignSink(const Definitions& definitions, const FeatureView& view,
                   const feast::core::FeatureViewSpec& spec) {
  const std::string& name = spec.batch_source().name();
  if (name == view.sink_source || definitions.FindDataSource(name) == nullptr) return false;
  const std::vector<std::string> roots = RootSources(definitions, view);
  return std::ranges::find(roots, name) == roots.end();
}

std::vector<std::string> PartsLeftOut(const feast::core::Registry& registry,
                                      const Definitions& definitions, const std::string& project) {
  Lines lines;
  TellProject(registry, project, &lines);
  TellEntities(registry, project, definitions, &lines);
  for (const auto& view : registry.feature_views()) {
    const bool is_kept = definitions.FindFeatureView(NameOfMessage(view)) != nullptr;
    if (ProjectOf(view) == project && is_kept) TellView(definitions, view.spec(), &lines);
  }
  for (const auto& service : registry.feature_services()) {
    if (ProjectOf(service) == project) TellService(service.spec(), &lines);
  }
  for (const auto& permission : registry.permissions()) {
    if (ProjectOf(permission) != project) continue;
    lines.push_back(
        Concat("permission ", Quoted(NameOfMessage(permission)),
               ": gnomon checks none; keep its servers and databases behind what does"));
  }
  for (const auto& reference : registry.validation_references()) {
    if (ProjectOf(reference) != project) continue;
    lines.push_back(Concat("validation reference ", Quoted(reference.name()),
                           ": its profile is Python; compare with `gnomon saved-datasets`"));
  }
  return lines;
}

}  // namespace gnomon::feature
