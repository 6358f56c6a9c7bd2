#pragma once

#include <memory>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "feature/definition/definition.h"
#include "sql/postgres.h"
#include "sql/postgres_batches.h"

/// What the PostgreSQL store asks, as SQL.
namespace gnomon::feature {

/// The name of a source's rows in statements.
inline constexpr const char* kPostgresAlias = "gnomon_rows";

/// What is to be read of a source.
struct PostgresRequest {
  std::string relation;
  std::vector<sql::PostgresColumn> columns;  ///< in the source's names
  std::shared_ptr<arrow::Schema> schema;     ///< under mapped names
  bool hashable = true;                      ///< can the server hash its rows as they are?
  /// Columns of the source whose values may be equal, and hashed alike, though they are not the
  /// same: what tells them apart goes into the hash.
  std::vector<sql::PostgresColumn> look_alikes = {};
  std::string condition;  ///< on the time; may be empty
};

/// A query as it may stand in brackets: it may end with a semicolon, or with a comment.
std::string BracketedQuery(const std::string& text);

/// The source as what stands after FROM. kUser for a `table` that is no name.
Result<std::string> PostgresRelation(const DataSource& source);

/// The statement that gives the request's columns and, as the last one, the hash of the row.
/// `range`: one of PageRanges.
std::string SelectOf(const PostgresRequest& request, int server_version, const std::string& range);

/// Whether values of a type that are equal for the server are the same: 0.0 and -0.0 are not, nor
/// are 'a' and 'A' of citext.
bool MayLookAlike(const sql::PostgresColumn& column);

/// At most `most` conditions that cut a plain table into ranges of pages; a single empty one for
/// everything else.
Result<std::vector<std::string>> PageRanges(const Context& context, sql::Postgres* connection,
                                            const DataSource& source, int most);

}  // namespace gnomon::feature
