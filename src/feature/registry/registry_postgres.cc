#include <optional>
#include <utility>

#include "feature/registry/registry_database_internal.h"
#include "sql/postgres.h"
#include "sql/postgres_url.h"

namespace gnomon::feature {

namespace {

sql::PostgresParameters ParametersOf(std::span<const SqlParameter> parameters) {
  sql::PostgresParameters result;
  for (const SqlParameter& parameter : parameters) {
    if (const auto* text = std::get_if<std::string_view>(&parameter)) {
      result.Text(*text);
    } else if (const auto* bytes = std::get_if<SqlBytes>(&parameter)) {
      result.Bytea(bytes->value);
    } else {
      result.Int64(std::get<int64_t>(parameter));
    }
  }
  return result;
}

class PostgresRegistryDatabase : public RegistryDatabase {
 public:
  explicit PostgresRegistryDatabase(sql::PostgresOptions options)
      : options_(std::move(options)),
        place_(Concat("postgresql://", options_.host,
                      options_.port > 0 ? Concat(":", options_.port) : std::string(), "/",
                      options_.database)) {}

  std::string place() const override { return place_; }
  std::string_view bytes_type() const override { return "BYTEA"; }

  Result<bool> Exists(const Context&) override { return true; }

  Result<std::set<std::string>> Tables(const Context& context) override {
    GNOMON_ASSIGN_OR_RETURN(auto rows,
                            Query(context,
                                  "SELECT tablename::text FROM pg_tables WHERE schemaname = ANY "
                                  "(current_schemas(false))",
                                  {}));
    std::set<std::string> names;
    for (SqlRow& row : rows) names.insert(std::move(row[0]));
    return names;
  }

  Status Write(const Context& context, const std::function<Status()>& body) override {
    // One writer at a time, so that two of them never make the tables at once.
    return InTransaction(context, sql::PostgresIsolation::kReadCommitted, [&]() -> Status {
      GNOMON_RETURN_NOT_OK(
          connection_->Execute(context, "SELECT pg_advisory_xact_lock(7453010374562193)"));
      return body();
    });
  }

  Status Read(const Context& context, const std::function<Status()>& body) override {
    return InTransaction(context, sql::PostgresIsolation::kRepeatableRead, body);
  }

  Result<int64_t> Execute(const Context& context, const std::string& statement,
                          std::span<const SqlParameter> parameters) override {
    GNOMON_RETURN_NOT_OK(Connect(context));
    GNOMON_ASSIGN_OR_RETURN(const auto result,
                            connection_->Query(context, statement, ParametersOf(parameters)));
    return result.affected_rows();
  }

  Result<std::vector<SqlRow>> Query(const Context& context, const std::string& statement,
                                    std::span<const SqlParameter> parameters) override {
    GNOMON_RETURN_NOT_OK(Connect(context));
    GNOMON_ASSIGN_OR_RETURN(const auto result,
                            connection_->Query(context, statement, ParametersOf(parameters)));
    std::vector<SqlRow> rows(static_cast<size_t>(result.num_rows()));
    for (int64_t i = 0; i < result.num_rows(); ++i) {
      // Texts and bytes look the same in the binary format.
      for (int column = 0; column < result.num_columns(); ++column) {
        rows[static_cast<size_t>(i)].emplace_back(result.Bytes(i, column));
      }
    }
    return rows;
  }

  // Every version of a row has its own transaction and place.
  Result<std::string> Stamp(const Context& context, std::span<const std::string> tables) override {
    std::string statement;
    for (const std::string& table : tables) {
      statement +=
          Concat(statement.empty() ? "SELECT concat_ws(' '" : "",
                 ", (SELECT count(*) || ':' || coalesce(sum(hashtextextended(xmin::text || "
                 "ctid::text, 0)), 0) FROM ",
                 table, ")");
    }
    GNOMON_ASSIGN_OR_RETURN(auto rows, Query(context, statement + ")", {}));
    return rows.at(0).at(0);
  }

 private:
  Status InTransaction(const Context& context, sql::PostgresIsolation isolation,
                       const std::function<Status()>& body) {
    GNOMON_RETURN_NOT_OK(Connect(context));
    return connection_->Transaction(context, body, isolation);
  }

  Status Connect(const Context& context) {
    GNOMON_RETURN_NOT_OK(context.Check());
    const bool idle = connection_ && !connection_->in_transaction();
    if (connection_ && (!connection_->usable() || (idle && !connection_->IsIdleAndAlive()))) {
      connection_.reset();
    }
    if (connection_) return Status::OK();
    auto connection = sql::Postgres::Connect(context, options_);
    if (!connection.ok()) return WithContext(connection.status(), "registry");
    connection_ = *std::move(connection);
    return Status::OK();
  }

  const sql::PostgresOptions options_;
  const std::string place_;
  std::optional<sql::Postgres> connection_;
};

}  // namespace

Result<std::unique_ptr<RegistryDatabase>> MakePostgresRegistryDatabase(const std::string& url) {
  GNOMON_ASSIGN_OR_RETURN(sql::PostgresOptions options, sql::ParsePostgresUrl(url));
  return std::make_unique<PostgresRegistryDatabase>(std::move(options));
}

}  // namespace gnomon::feature
