#include <filesystem>
#include <optional>
#include <utility>

#include "base/files.h"
#include "feature/registry/registry_database_internal.h"
#include "sql/sqlite.h"

namespace gnomon::feature {

namespace {

class SqliteRegistryDatabase : public RegistryDatabase {
 public:
  explicit SqliteRegistryDatabase(std::string path) : path_(std::move(path)) {}

  std::string place() const override { return path_; }
  std::string_view bytes_type() const override { return "BLOB"; }

  Result<bool> Exists(const Context&) override {
    std::error_code error;
    return std::filesystem::exists(path_, error);
  }

  Result<std::set<std::string>> Tables(const Context& context) override {
    GNOMON_ASSIGN_OR_RETURN(
        auto rows, Query(context, "SELECT name FROM sqlite_master WHERE type = 'table'", {}));
    std::set<std::string> names;
    for (SqlRow& row : rows) names.insert(std::move(row[0]));
    return names;
  }

  Status Write(const Context& context, const std::function<Status()>& body) override {
    GNOMON_RETURN_NOT_OK(Connect(context, /*create=*/true));
    return connection_->Transaction(body);
  }

  Status Read(const Context& context, const std::function<Status()>& body) override {
    GNOMON_RETURN_NOT_OK(Connect(context, /*create=*/false));
    GNOMON_RETURN_NOT_OK(connection_->Execute("BEGIN"));
    const Status status = body();
    const Status ended = connection_->Execute("ROLLBACK");
    return status.ok() ? ended : status;
  }

  Result<int64_t> Execute(const Context& context, const std::string& statement,
                          std::span<const SqlParameter> parameters) override {
    GNOMON_RETURN_NOT_OK(Query(context, statement, parameters).status());
    GNOMON_ASSIGN_OR_RETURN(auto changes, Query(context, "SELECT changes()", {}));
    return std::stoll(changes.at(0).at(0));
  }

  Result<std::vector<SqlRow>> Query(const Context& context, const std::string& statement,
                                    std::span<const SqlParameter> parameters) override {
    GNOMON_RETURN_NOT_OK(Connect(context, /*create=*/false));
    GNOMON_ASSIGN_OR_RETURN(auto prepared, connection_->Prepare(statement));
    for (size_t i = 0; i < parameters.size(); ++i) {
      const int index = static_cast<int>(i) + 1;
      if (const auto* text = std::get_if<std::string_view>(&parameters[i])) {
        prepared.BindText(index, *text);
      } else if (const auto* bytes = std::get_if<SqlBytes>(&parameters[i])) {
        prepared.BindBlob(index, bytes->value);
      } else {
        prepared.BindInt(index, std::get<int64_t>(parameters[i]));
      }
    }
    std::vector<SqlRow> rows;
    for (;;) {
      GNOMON_ASSIGN_OR_RETURN(const bool more, prepared.Step());
      if (!more) return rows;
      SqlRow row;
      for (int column = 0; column < prepared.ColumnCount(); ++column) {
        row.emplace_back(prepared.IsNull(column) ? std::string_view() : prepared.Blob(column));
      }
      rows.push_back(std::move(row));
    }
  }

  // The number changes when another connection commits, not when this one does.
  Result<std::string> Stamp(const Context& context, std::span<const std::string>) override {
    GNOMON_ASSIGN_OR_RETURN(auto rows, Query(context, "PRAGMA data_version", {}));
    return Concat(rows.at(0).at(0), " of connection ", connections_);
  }

 private:
  Status Connect(const Context& context, bool create) {
    GNOMON_RETURN_NOT_OK(context.Check());
    // A file that was deleted or replaced meanwhile is another database.
    std::error_code error;
    if (connection_ && !std::filesystem::exists(path_, error)) connection_.reset();
    if (connection_) return Status::OK();
    const std::string parent = std::filesystem::path(path_).parent_path().string();
    if (create && !parent.empty()) GNOMON_RETURN_NOT_OK(MakeFolders(parent));
    GNOMON_ASSIGN_OR_RETURN(auto connection,
                            sql::Sqlite::Open(path_, {.create = create, .busy_seconds = 30}));
    connection_ = std::move(connection);
    ++connections_;
    return Status::OK();
  }

  const std::string path_;
  std::optional<sql::Sqlite> connection_;
  int connections_ = 0;
};

}  // namespace

std::unique_ptr<RegistryDatabase> MakeSqliteRegistryDatabase(std::string path) {
  return std::make_unique<SqliteRegistryDatabase>(std::move(path));
}

}  // namespace gnomon::feature
