#include <array>

#include <google/protobuf/stubs/logging.h>

#include "feature/registry/feast_message_internal.h"
#include "feature/registry/registry_tables_internal.h"

namespace gnomon::feature {

namespace {

constexpr std::array<RegistryTable, 15> kTables = {{
    {kProjectsTable, "project_name", "project_proto"},
    {"entities", "entity_name", "entity_proto"},
    {"data_sources", "data_source_name", "data_source_proto"},
    {kFeatureViewsTable, "feature_view_name", "feature_view_proto"},
    {"stream_feature_views", "feature_view_name", "feature_view_proto"},
    {"on_demand_feature_views", "feature_view_name", "feature_view_proto"},
    {"label_views", "feature_view_name", "feature_view_proto"},
    {"feature_services", "feature_service_name", "feature_service_proto"},
    {"saved_datasets", "saved_dataset_name", "saved_dataset_proto"},
    {"validation_references", "validation_reference_name", "validation_reference_proto"},
    {"permissions", "permission_name", "permission_proto"},
    {kMetadataTable, "metadata_key", "metadata_value", true},
    {kSideTable, "project_name", "side_proto"},
    {kJobsTable, "job_id", "job_proto"},
    {kVersionsTable, "project_name", "version_id", true},
}};

constexpr std::array<std::string_view, 2> kOtherTables = {"managed_infra", kHistoryTable};

constexpr std::string_view kProjectUuid = "project_uuid";

template <typename Message>
const std::string& NameOfRow(const Message& message) {
  return message.spec().name();
}
const std::string& NameOfRow(const feast::core::DataSource& message) { return message.name(); }

const std::string& NameOfRow(const feast::core::ValidationReference& message) {
  return message.name();
}

template <typename Message>
const std::string& ProjectOfRow(const Message& message) {
  return message.spec().project();
}
const std::string& ProjectOfRow(const feast::core::DataSource& message) {
  return message.project();
}
const std::string& ProjectOfRow(const feast::core::ValidationReference& message) {
  return message.project();
}
const std::string& ProjectOfRow(const feast::core::Project& message) {
  return message.spec().name();
}

template <typename Message>
void SetProject(const std::string& project, Message* message) {
  message->mutable_spec()->set_project(project);
}
void SetProject(const std::string& project, feast::core::DataSource* message) {
  message->set_project(project);
}
void SetProject(const std::string& project, feast::core::ValidationReference* message) {
  message->set_project(project);
}
void SetProject(const std::string&, feast::core::Project*) {}

// The lists of Feast's message with their tables.
template <typename Registry, typename Visit>
void ForEachList(Registry&& registry, Visit visit) {
  visit(kProjectsTable, registry.projects());
  visit("entities", registry.entities());
  visit("data_sources", registry.data_sources());
  visit(kFeatureViewsTable, registry.feature_views());
  visit("stream_feature_views", registry.stream_feature_views());
  visit("on_demand_feature_views", registry.on_demand_feature_views());
  visit("label_views", registry.label_views());
  visit("feature_services", registry.feature_services());
  visit("saved_datasets", registry.saved_datasets());
  visit("validation_references", registry.validation_references());
  visit("permissions", registry.permissions());
}

// The same lists for changing.
struct MutableRegistry {
  feast::core::Registry* message;
  auto* projects() { return message->mutable_projects(); }
  auto* entities() { return message->mutable_entities(); }
  auto* data_sources() { return message->mutable_data_sources(); }
  auto* feature_views() { return message->mutable_feature_views(); }
  auto* stream_feature_views() { return message->mutable_stream_feature_views(); }
  auto* on_demand_feature_views() { return message->mutable_on_demand_feature_views(); }
  auto* label_views() { return message->mutable_label_views(); }
  auto* feature_services() { return message->mutable_feature_services(); }
  auto* saved_datasets() { return message->mutable_saved_datasets(); }
  auto* validation_references() { return message->mutable_validation_references(); }
  auto* permissions() { return message->mutable_permissions(); }
};

gnomon::proto::SideProject* SideOf(const std::string& project, RegistryContent* content) {
  for (auto& item : *content->side.mutable_projects()) {
    if (item.name() == project) return &item;
  }
  auto* item = content->side.add_projects();
  item->set_name(project);
  return item;
}

Status BrokenRow(std::string_view table, const std::string& name) {
  return MakeError(ErrorKind::kDataLoss,
                   Concat("table ", table, ", row ", Quoted(name), ": the bytes are damaged"), {},
                   "restore the table from a backup, or delete the row and run `gnomon apply`");
}

// `create` with the columns that all of Feast's tables of objects have.
std::string ObjectTable(std::string_view name, std::string_view name_column,
                        std::string_view value_column, std::string_view bytes_type,
                        std::string_view more = "", std::string_view last = "") {
  return Concat("CREATE TABLE IF NOT EXISTS ", name, " (", name_column,
                " VARCHAR(255) NOT NULL, project_id VARCHAR(255) NOT NULL, "
                "last_updated_timestamp BIGINT NOT NULL, ",
                more, value_column, " ", bytes_type, " NOT NULL, ", last, "PRIMARY KEY (",
                name_column, ", project_id))");
}

}  // namespace

std::span<const RegistryTable> RegistryTables() { return kTables; }
std::span<const std::string_view> OtherTables() { return kOtherTables; }

std::vector<std::string> CreateStatements(std::string_view bytes_type) {
  const std::string metadata = Concat("user_metadata ", bytes_type, ", ");
  const std::string intervals = Concat("materialized_intervals ", bytes_type, ", ");
  std::vector<std::string> statements = {
      Concat("CREATE TABLE IF NOT EXISTS projects (project_id VARCHAR(255) NOT NULL, project_name "
             "VARCHAR(255) NOT NULL, last_updated_timestamp BIGINT NOT NULL, project_proto ",
             bytes_type, " NOT NULL, PRIMARY KEY (project_id))"),
      ObjectTable("entities", "entity_name", "entity_proto", bytes_type),
      ObjectTable("data_sources", "data_source_name", "data_source_proto", bytes_type),
      ObjectTable("feature_views", "feature_view_name", "feature_view_proto", bytes_type, intervals,
                  metadata)};
  for (const std::string_view table :
       {"stream_feature_views", "on_demand_feature_views", "label_views"}) {
    statements.push_back(
        ObjectTable(table, "feature_view_name", "feature_view_proto", bytes_type, "", metadata));
  }
  statements.insert(
      statements.end(),
      {ObjectTable("feature_services", "feature_service_name", "feature_service_proto", bytes_type),
       ObjectTable("saved_datasets", "saved_dataset_name", "saved_dataset_proto", bytes_type),
       ObjectTable("validation_references", "validation_reference_name",
                   "validation_reference_proto", bytes_type),
       ObjectTable("managed_infra", "infra_name", "infra_proto", bytes_type),
       ObjectTable("permissions", "permission_name", "permission_proto", bytes_type),
       Concat("CREATE TABLE IF NOT EXISTS feature_view_version_history (feature_view_name "
              "VARCHAR(255) NOT NULL, project_id VARCHAR(255) NOT NULL, version_number INTEGER NOT "
              "NULL, feature_view_type VARCHAR(50) NOT NULL, feature_view_proto ",
              bytes_type,
              " NOT NULL, created_timestamp BIGINT NOT NULL, description TEXT, version_id "
              "VARCHAR(36) NOT NULL, PRIMARY KEY (feature_view_name, project_id, version_number))"),
       "CREATE TABLE IF NOT EXISTS feast_metadata (project_id VARCHAR(255) NOT NULL, metadata_key "
       "VARCHAR(50) NOT NULL, metadata_value TEXT NOT NULL, last_updated_timestamp BIGINT NOT "
       "NULL, PRIMARY KEY (project_id, metadata_key))",
       ObjectTable(kSideTable, "project_name", "side_proto", bytes_type),
       ObjectTable(kJobsTable, "job_id", "job_proto", bytes_type),
       ObjectTable(kVersionsTable, "project_name", "version_id", "TEXT")});
  for (const RegistryTable& table : kTables) {
    statements.push_back(Concat("CREATE INDEX IF NOT EXISTS idx_", table.name, "_project_id ON ",
                                table.name, " (project_id)"));
  }
  for (const std::string_view table : kOtherTables) {
    const std::string_view index =
        table == kHistoryTable ? std::string_view("fv_version_history") : table;
    statements.push_back(Concat("CREATE INDEX IF NOT EXISTS idx_", index, "_project_id ON ", table,
                                " (project_id)"));
  }
  return statements;
}

RegistryRows RowsOf(const RegistryContent& content, const std::string& project) {
  RegistryRows rows;
  ForEachList(content.registry, [&](std::string_view table, const auto& list) {
    for (const auto& message : list) {
      if (ProjectOfRow(message) != project) continue;
      rows[{std::string(table), NameOfRow(message)}] = SerializeMessage(message);
    }
  });
  for (const auto& item : content.registry.project_metadata()) {
    if (item.project() != project) continue;
    rows[{std::string(kMetadataTable), std::string(kProjectUuid)}] = item.project_uuid();
  }
  for (const auto& item : content.side.projects()) {
    if (item.name() != project) continue;
    gnomon::proto::SideProject side = item;
    side.clear_jobs();
    rows[{std::string(kSideTable), project}] = SerializeMessage(side);
    for (const auto& job : item.jobs()) {
      rows[{std::string(kJobsTable), job.id()}] = SerializeMessage(job);
    }
  }
  return rows;
}

Status AddRow(std::string_view table, const std::string& name, const std::string& bytes,
              const std::string& project, RegistryContent* content) {
  const google::protobuf::LogSilencer silencer;  // the error below says it
  if (table == kMetadataTable) {
    if (name != kProjectUuid) return Status::OK();
    auto* metadata = content->registry.add_project_metadata();
    metadata->set_project(project);
    metadata->set_project_uuid(bytes);
    return Status::OK();
  }
  bool parsed = true;
  if (table == kSideTable) {
    auto* side = SideOf(project, content);
    gnomon::proto::SideProject stored;
    parsed = stored.ParseFromString(bytes);
    stored.mutable_jobs()->Swap(side->mutable_jobs());
    side->Swap(&stored);
    side->set_name(project);
  } else if (table == kJobsTable) {
    parsed = SideOf(project, content)->add_jobs()->ParseFromString(bytes);
  } else {
    ForEachList(MutableRegistry{&content->registry}, [&](std::string_view list_table, auto* list) {
      if (list_table != table) return;
      auto* message = list->Add();
      parsed = message->ParseFromString(bytes);
      SetProject(project, message);
    });
  }
  return parsed ? Status::OK() : BrokenRow(table, name);
}

}  // namespace gnomon::feature
