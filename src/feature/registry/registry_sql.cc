#include <algorithm>
#include <utility>

#include "base/fault.h"
#include "base/ids.h"
#include "base/mutex.h"
#include "feature/registry/feast_message_internal.h"
#include "feature/registry/registry_backend_internal.h"
#include "feature/registry/registry_database_internal.h"
#include "feature/registry/registry_tables_internal.h"

namespace gnomon::feature {

namespace {

constexpr std::string_view kSqlite = "sqlite:///";

using Row = RegistryRows::value_type;

const RegistryTable& TableNamed(std::string_view name) {
  const auto tables = RegistryTables();
  return *std::ranges::find(tables, name, &RegistryTable::name);
}

SqlParameter ValueParameter(const RegistryTable& table, const std::string& value) {
  if (table.is_text) return std::string_view(value);
  return SqlBytes{value};
}

// Of everything but the jobs, which readers of features do not look at.
std::string VersionOf(const RegistryRows& rows) {
  std::string text;
  for (const auto& [key, bytes] : rows) {
    if (key.first == kJobsTable || key.first == kVersionsTable) continue;
    text += Concat(key.first, "\n", key.second, "\n", bytes.size(), "\n", bytes);
  }
  return text.empty() ? text : Sha256Hex(text).substr(0, 32);
}

// One writing transaction: what differs between two states, row by row, each change on the
// condition that the row is the one that was read.
class RowWriter {
 public:
  RowWriter(const Context& context, RegistryDatabase& database, const std::string& project,
            const RegistryRows& stored)
      : context_(context), database_(database), project_(project), rows_(stored) {}

  Status Apply(const RegistryRows& before, const RegistryRows& after) {
    for (const auto& [key, bytes] : after) {
      const auto old = before.find(key);
      if (old != before.end() && old->second == bytes) continue;
      GNOMON_RETURN_NOT_OK(Put(key, bytes));
    }
    for (const auto& [key, bytes] : before) {
      if (!after.contains(key)) GNOMON_RETURN_NOT_OK(Delete(key));
    }
    if (!needs_version_) return Status::OK();
    GNOMON_RETURN_NOT_OK(Put({std::string(kVersionsTable), project_}, RandomUuid()));
    return is_gone_ ? Status::OK() : TouchMetadata();
  }

  RegistryRows TakeRows() { return std::move(rows_); }

 private:
  static constexpr int64_t kMicros = 1'000'000;
  using Key = RegistryRows::key_type;

  Status Put(const Key& key, const std::string& bytes) {
    const RegistryTable& table = TableNamed(key.first);
    const auto stored = rows_.find(key);
    const SqlParameter value = ValueParameter(table, bytes);
    const int64_t now = context_.clock->NowMicros() / kMicros;
    int64_t changed = 0;
    if (stored != rows_.end()) {
      const std::vector<SqlParameter> parameters = {value, now, std::string_view(key.second),
                                                    std::string_view(project_),
                                                    ValueParameter(table, stored->second)};
      GNOMON_ASSIGN_OR_RETURN(
          changed,
          database_.Execute(context_,
                            Concat("UPDATE ", table.name, " SET ", table.value_column,
                                   " = $1, last_updated_timestamp = $2 WHERE ", table.name_column,
                                   " = $3 AND project_id = $4 AND ", table.value_column, " = $5"),
                            parameters));
    } else {
      const std::vector<SqlParameter> parameters = {std::string_view(key.second),
                                                    std::string_view(project_), now, value};
      GNOMON_ASSIGN_OR_RETURN(
          changed,
          database_.Execute(context_,
                            Concat("INSERT INTO ", table.name, " (", table.name_column,
                                   ", project_id, last_updated_timestamp, ", table.value_column,
                                   ") VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"),
                            parameters));
    }
    if (changed != 1) return WrittenMeanwhile(database_.place());
    // A job that goes on concerns nobody else; one that begins does.
    if (key.first != kJobsTable || stored == rows_.end()) needs_version_ = true;
    rows_[key] = bytes;
    return Status::OK();
  }

  Status Delete(const Key& key) {
    const RegistryTable& table = TableNamed(key.first);
    const auto stored = rows_.find(key);
    GNOMON_CHECK(stored != rows_.end(), "a row that was never read: ", key.first, ": ", key.second);
    const std::vector<SqlParameter> parameters = {std::string_view(key.second),
                                                  std::string_view(project_),
                                                  ValueParameter(table, stored->second)};
    GNOMON_ASSIGN_OR_RETURN(
        const int64_t changed,
        database_.Execute(context_,
                          Concat("DELETE FROM ", table.name, " WHERE ", table.name_column,
                                 " = $1 AND project_id = $2 AND ", table.value_column, " = $3"),
                          parameters));
    if (changed != 1) return WrittenMeanwhile(database_.place());
    if (key.first == kProjectsTable) GNOMON_RETURN_NOT_OK(DeleteRest());
    if (key.first == kFeatureViewsTable) GNOMON_RETURN_NOT_OK(DeleteHistory(key.second));
    rows_.erase(stored);
    needs_version_ = true;
    return Status::OK();
  }

  // What Feast deletes with a view and with a project.
  Status DeleteHistory(const std::string& view) {
    const std::vector<SqlParameter> parameters = {std::string_view(view),
                                                  std::string_view(project_)};
    return database_
        .Execute(context_,
                 Concat("DELETE FROM ", kHistoryTable,
                        " WHERE feature_view_name = $1 AND project_id = $2"),
                 parameters)
        .status();
  }
  Status DeleteRest() {
    const std::vector<SqlParameter> parameters = {std::string_view(project_)};
    std::vector<std::string_view> tables(OtherTables().begin(), OtherTables().end());
    tables.push_back(kMetadataTable);
    for (const std::string_view table : tables) {
      GNOMON_RETURN_NOT_OK(database_
                               .Execute(context_,
                                        Concat("DELETE FROM ", table, " WHERE project_id = $1"),
                                        parameters)
                               .status());
    }
    is_gone_ = true;
    return Status::OK();
  }

  // Feast's mark of the last change of the project.
  Status TouchMetadata() {
    const int64_t now = context_.clock->NowMicros() / kMicros;
    const std::string text = std::to_string(now);
    constexpr std::string_view kKey = "last_updated_timestamp";
    const std::vector<SqlParameter> parameters = {std::string_view(project_), kKey,
                                                  std::string_view(text), now};
    return database_
        .Execute(context_,
                 "INSERT INTO feast_metadata (project_id, metadata_key, metadata_value, "
                 "last_updated_timestamp) VALUES ($1, $2, $3, $4) ON CONFLICT (project_id, "
                 "metadata_key) DO UPDATE SET metadata_value = excluded.metadata_value, "
                 "last_updated_timestamp = excluded.last_updated_timestamp",
                 parameters)
        .status();
  }

  const Context& context_;
  RegistryDatabase& database_;
  const std::string& project_;
  RegistryRows rows_;
  bool needs_version_ = false;
  bool is_gone_ = false;  // the project
};

class SqlBackend : public RegistryBackend {
 public:
  SqlBackend(std::unique_ptr<RegistryDatabase> database, std::string project)
      : place_(database->place()), project_(std::move(project)), database_(std::move(database)) {
    for (const RegistryTable& table : RegistryTables()) tables_.emplace_back(table.name);
  }

  const std::string& place() const override { return place_; }

  Result<RegistryContent> Read(const Context& context) override {
    MutexLock lock(mutex_);
    RegistryContent content;
    content.rows = std::make_shared<const RegistryRows>();
    GNOMON_ASSIGN_OR_RETURN(const bool exists, database_->Exists(context));
    if (!exists) return content;
    RegistryRows rows;
    GNOMON_RETURN_NOT_OK(database_->Read(context, [&]() -> Status {
      GNOMON_ASSIGN_OR_RETURN(const auto present, database_->Tables(context));
      std::vector<std::string> stamped;
      for (const RegistryTable& table : RegistryTables()) {
        if (!present.contains(std::string(table.name))) continue;
        stamped.emplace_back(table.name);
        GNOMON_RETURN_NOT_OK(ReadTable(context, table, &rows, &content));
      }
      // Without all tables there is nothing to compare with.
      if (stamped.size() < tables_.size()) return Status::OK();
      return database_->Stamp(context, stamped).Value(&content.database_stamp);
    }));
    if (!rows.empty()) content.registry.set_registry_schema_version("1");
    content.registry.set_version_id(VersionOf(rows));
    content.rows = std::make_shared<const RegistryRows>(std::move(rows));
    return content;
  }

  Result<bool> MayHaveChanged(const Context& context, const RegistryContent& known) override {
    if (known.database_stamp.empty()) return true;
    MutexLock lock(mutex_);
    GNOMON_ASSIGN_OR_RETURN(const std::string stamp, database_->Stamp(context, tables_));
    return stamp != known.database_stamp;
  }

  Status Write(const Context& context, const RegistryContent& before,
               RegistryContent* after) override {
    after->registry.set_registry_schema_version("1");
    if (feast::core::Registry check; !check.ParseFromString(SerializeMessage(after->registry))) {
      return Error(ErrorKind::kUser, "the definitions hold a text that is not valid UTF-8");
    }
    MutexLock lock(mutex_);
    RowWriter writer(context, *database_, project_, *before.rows);
    GNOMON_RETURN_NOT_OK(database_->Write(context, [&]() -> Status {
      GNOMON_RETURN_NOT_OK(FaultPoint("registry.before_write", context.stop));
      if (!has_tables_) {
        for (const std::string& statement : CreateStatements(database_->bytes_type())) {
          GNOMON_RETURN_NOT_OK(database_->Execute(context, statement, {}).status());
        }
      }
      GNOMON_RETURN_NOT_OK(writer.Apply(RowsOf(before, project_), RowsOf(*after, project_)));
      return FaultPoint("registry.before_write", context.stop);
    }));
    has_tables_ = true;
    RegistryRows rows = writer.TakeRows();
    after->registry.set_version_id(VersionOf(rows));
    after->rows = std::make_shared<const RegistryRows>(std::move(rows));
    GNOMON_ASSIGN_OR_RETURN(const bool quiet, SeesOnlyOthers(context, before));
    if (!quiet) after->database_stamp.clear();
    return Status::OK();
  }

 private:
  // Whether the stamp still tells of other connections' changes after one of our own.
  Result<bool> SeesOnlyOthers(const Context& context, const RegistryContent& before)
      GNOMON_REQUIRES(mutex_) {
    if (before.database_stamp.empty()) return false;
    GNOMON_ASSIGN_OR_RETURN(const std::string stamp, database_->Stamp(context, tables_));
    return stamp == before.database_stamp;
  }

  Status ReadTable(const Context& context, const RegistryTable& table, RegistryRows* rows,
                   RegistryContent* content) GNOMON_REQUIRES(mutex_) {
    const std::vector<SqlParameter> parameters = {std::string_view(project_)};
    GNOMON_ASSIGN_OR_RETURN(
        auto found,
        database_->Query(context,
                         Concat("SELECT ", table.name_column, ", ", table.value_column, " FROM ",
                                table.name, " WHERE project_id = $1 ORDER BY ", table.name_column),
                         parameters));
    for (SqlRow& row : found) {
      if (table.name == kMetadataTable && row[0] != "project_uuid") continue;
      if (table.name != kVersionsTable) {
        GNOMON_RETURN_NOT_OK(AddRow(table.name, row[0], row[1], project_, content));
      }
      (*rows)[{std::string(table.name), std::move(row[0])}] = std::move(row[1]);
    }
    return Status::OK();
  }

  const std::string place_;
  const std::string project_;
  std::vector<std::string> tables_;  // constant
  Mutex mutex_;
  const std::unique_ptr<RegistryDatabase> database_ GNOMON_GUARDED_BY(mutex_);
  bool has_tables_ GNOMON_GUARDED_BY(mutex_) = false;
};

Result<std::unique_ptr<RegistryDatabase>> DatabaseOf(const std::string& url) {
  if (url.starts_with(kSqlite)) return MakeSqliteRegistryDatabase(url.substr(kSqlite.size()));
  if (url.starts_with("postgres")) return MakePostgresRegistryDatabase(url);
  return MakeError(ErrorKind::kUnsupported,
                   Concat("a registry at ", url.substr(0, url.find("://")), "://"), {},
                   "registries: a file, sqlite:///FILE, postgresql://...");
}

}  // namespace

bool IsSqlRegistry(const std::string& path) { return path.find("://") != std::string::npos; }

Result<std::unique_ptr<RegistryBackend>> MakeSqlBackend(const std::string& url,
                                                        const std::string& project) {
  GNOMON_ASSIGN_OR_RETURN(auto database, DatabaseOf(url));
  return std::make_unique<SqlBackend>(std::move(database), project);
}

Result<std::vector<std::string>> SqlProjects(const Context& context, const std::string& url) {
  GNOMON_ASSIGN_OR_RETURN(const auto database, DatabaseOf(url));
  std::vector<std::string> names;
  GNOMON_ASSIGN_OR_RETURN(const bool exists, database->Exists(context));
  if (!exists) return names;
  GNOMON_ASSIGN_OR_RETURN(const auto tables, database->Tables(context));
  if (!tables.contains(std::string(kProjectsTable))) return names;
  GNOMON_ASSIGN_OR_RETURN(
      auto rows,
      database->Query(context, "SELECT project_id FROM projects ORDER BY project_id", {}));
  for (SqlRow& row : rows) names.push_back(std::move(row[0]));
  return names;
}

}  // namespace gnomon::feature
