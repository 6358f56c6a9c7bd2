#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "feast/core/registry.pb.h"
#include "feature/definition/definition.h"
#include "gnomon/side_registry.pb.h"

/// Definitions as Feast's messages, and back. Writers change a message in place: what they do not
/// know of stays.
namespace gnomon::feature {

inline constexpr std::string_view kSpecTag = "gnomon.spec";
inline constexpr std::string_view kDummyEntity = "__dummy";
inline constexpr std::string_view kDummyKey = "__dummy_id";

void WriteEntity(const Entity& entity, feast::core::EntitySpecV2* spec);
void WriteDataSource(const DataSource& source, feast::core::DataSource* message);
/// REQUIRES: the view's entities and source are in `definitions`.
void WriteFeatureView(const Definitions& definitions, const FeatureView& view,
                      feast::core::FeatureViewSpec* spec);
/// Projections of feature views; those of on-demand views go to the side file. Projections of
/// `foreign` views stay. REQUIRES: as above.
void WriteFeatureService(const Definitions& definitions, const std::set<std::string>& foreign,
                         const FeatureService& service, feast::core::FeatureServiceSpec* spec);

/// kUnsupported for what definitions cannot say: other stores, Python functions, views on views,
/// other types.
Result<Entity> ReadEntity(const feast::core::EntitySpecV2& spec);
Result<DataSource> ReadDataSource(const feast::core::DataSource& message);
/// Features of other types are left out and told in `notes`; a view of nothing else is
/// kUnsupported.
Result<FeatureView> ReadFeatureView(const feast::core::FeatureViewSpec& spec,
                                    std::vector<std::string>* notes = nullptr);
/// Whether definitions can hold a feature of this type.
bool IsReadable(const feast::core::FeatureSpecV2& feature);
/// `foreign`: views of Feast's that definitions cannot hold. Their projections are left out once
/// gnomon has written the service without them.
Result<FeatureService> ReadFeatureService(const Definitions& definitions,
                                          const std::set<std::string>& foreign,
                                          const feast::core::FeatureServiceSpec& spec);

/// Replaces the project's part of `side` by the on-demand views and service parts of `wanted`; jobs
/// stay.
void WriteSide(const Definitions& wanted, int64_t now, gnomon::proto::SideProject* side);
std::vector<PluginUse> ReadPlugins(const gnomon::proto::SideProject& side);
Result<OnDemandFeatureView> ReadOnDemandView(const gnomon::proto::SideOnDemandView& message);

/// The project's part of a registry. What cannot be read is left out and told in `notes`, one line
/// each.
Definitions ReadDefinitions(const feast::core::Registry& registry,
                            const gnomon::proto::SideProject* side, const std::string& project,
                            std::vector<std::string>* notes);

/// What ReadDefinitions does not tell: parts of the project's objects that `definitions`, as they
/// were read, do not say, and objects of kinds that are no definitions. One line each.
std::vector<std::string> PartsLeftOut(const feast::core::Registry& registry,
                                      const Definitions& definitions, const std::string& project);

/// Views of the project that `definitions`, as they were read, do not hold: Feast's own kinds and
/// feature views that cannot be read.
std::set<std::string> ForeignViews(const feast::core::Registry& registry,
                                   const std::string& project, const Definitions& definitions);

/// Whether the batch source of a view over views is a known one, and neither that of its rows in
/// the end, which gnomon writes there, nor its own sink: then Feast puts the rows there.
bool IsForeignSink(const Definitions& definitions, const FeatureView& view,
                   const feast::core::FeatureViewSpec& spec);

/// Puts the project's definitions into a registry: new objects are added, known ones changed in
/// place, others of the project that definitions can say are deleted. Timestamps move only where an
/// object changed. `stale_views`: their materialization intervals are dropped. kConflict when a
/// view of Feast's own kinds has the name of a wanted one.
Status WriteDefinitions(const Definitions& wanted, const std::string& project, int64_t now,
                        const std::vector<std::string>& stale_views,
                        feast::core::Registry* registry);

/// Takes the project with everything that is known of it out of a registry.
void RemoveProject(const std::string& project, feast::core::Registry* registry);

/// The bytes of a message, equal for equal messages (maps are sorted).
std::string SerializeMessage(const google::protobuf::Message& message);

int64_t MicrosOf(const google::protobuf::Timestamp& timestamp);
void SetMicros(int64_t micros, google::protobuf::Timestamp* timestamp);

}  // namespace gnomon::feature
