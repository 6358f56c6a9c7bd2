#include <algorithm>
#include <cctype>
#include <utility>

#include "base/text.h"
#include "feature/offline/database_store_internal.h"
#include "feature/offline/postgres_request_internal.h"
#include "sql/sqlite.h"

namespace gnomon::feature {

namespace {

constexpr int64_t kPagesPerStream = 2048;  // 16 MiB
// From it on ctid ranges read only their pages, and records can be hashed.
constexpr int kVersionOfRanges = 140000;

bool IsFloat(const sql::PostgresColumn& column) {
  return column.type == sql::oid::kFloat4 || column.type == sql::oid::kFloat8;
}

/// "name" or "schema.name", each plain or in double quotes: what a table may be called in SQL.
bool IsTableName(const std::string& text) {
  size_t i = 0;
  const auto word = [&] {
    if (i < text.size() && text[i] == '"') {
      const size_t end = text.find('"', i + 1);
      if (end == std::string::npos || end == i + 1) return false;
      i = end + 1;
      return true;
    }
    const size_t begin = i;
    while (i < text.size() && (std::isalnum(static_cast<unsigned char>(text[i])) != 0 ||
                               text[i] == '_' || text[i] == '$' || (text[i] & 0x80) != 0)) {
      ++i;
    }
    return i > begin && std::isdigit(static_cast<unsigned char>(text[begin])) == 0;
  };
  for (int parts = 1; parts <= 3; ++parts) {
    if (!word()) return false;
    if (i == text.size()) return true;
    if (text[i++] != '.') return false;
  }
  return false;
}

/// What tells rows apart that hash_record_extended takes for the same, as a number.
std::string DifferenceOf(const std::vector<sql::PostgresColumn>& look_alikes) {
  std::string zeros;  // is any number zero?
  std::string signs;
  std::string texts;
  for (size_t i = 0; i < look_alikes.size(); ++i) {
    const std::string name = Concat(kPostgresAlias, ".", sql::QuoteIdentifier(look_alikes[i].name));
    if (IsFloat(look_alikes[i])) {
      zeros += Concat(zeros.empty() ? "" : " OR ", name, " = 0");
      signs += Concat(signs.empty() ? "" : " # ", "CASE WHEN ", name, " = 0 AND ", name,
                      "::text = '-0' THEN hashint8extended(", i, ", 0) ELSE 0 END");
    } else {
      texts += Concat(" # COALESCE(hashtextextended(", name, "::text, ", i, "), 0)");
    }
  }
  // Most rows have no zero, and look at nothing else.
  return zeros.empty() ? texts
                       : Concat(texts, " # CASE WHEN ", zeros, " THEN ", signs, " ELSE 0 END");
}

}  // namespace

bool MayLookAlike(const sql::PostgresColumn& column) {
  constexpr uint32_t kFirstOfUsers = 16384;
  switch (column.type) {
    case sql::oid::kFloat4:
    case sql::oid::kFloat8:
    case sql::oid::kFloat4Array:
    case sql::oid::kFloat8Array:
    case sql::oid::kJsonb:
    case sql::oid::kJsonbArray:
      return true;
    default:
      return column.type >= kFirstOfUsers;
  }
}

std::string BracketedQuery(const std::string& text) {
  std::string query(Trim(text));
  while (query.ends_with(';')) query = Trim(query.substr(0, query.size() - 1));
  return query + "\n";
}

Result<std::string> PostgresRelation(const DataSource& source) {
  if (!source.query.empty()) return Concat("(", BracketedQuery(source.query), ")");
  if (IsTableName(source.table)) return source.table;
  return MakeError(ErrorKind::kUser, Concat("no name of a table: ", Quoted(source.table)), {},
                   "table: name or schema.name; other SQL is a `query:`");
}

std::string SelectOf(const PostgresRequest& request, int server_version,
                     const std::string& ctid_range) {
  const std::string hash = request.hashable && server_version >= kVersionOfRanges
                               ? Concat("(hash_record_extended(ROW(", kPostgresAlias, ".*), 0)",
                                        DifferenceOf(request.look_alikes), ")")
                               : Concat("hashtextextended(ROW(", kPostgresAlias, ".*)::text, 0)");
  std::string select;
  for (const sql::PostgresColumn& column : request.columns)
    select += Concat(select.empty() ? "SELECT " : ", ", kPostgresAlias, ".",
                     sql::QuoteIdentifier(column.name));
  select +=
      Concat(", ", hash, " AS ", kRowHash, " FROM ", request.relation, " AS ", kPostgresAlias);
  std::string where = request.condition;
  if (!ctid_range.empty()) where += Concat(where.empty() ? "" : " AND ", ctid_range);
  return where.empty() ? select : Concat(select, " WHERE ", where);
}

Result<std::vector<std::string>> PageRanges(const Context& context, sql::Postgres* connection,
                                            const DataSource& source, int most) {
  const std::vector<std::string> whole = {""};
  if (source.table.empty() || most < 2 || connection->server_version() < kVersionOfRanges)
    return whole;
  sql::PostgresParameters parameters;
  parameters.Text(source.table);
  GNOMON_ASSIGN_OR_RETURN(
      const auto row,
      connection->Query(context,
                        "SELECT pg_relation_size(oid) / current_setting('block_size')::int8 FROM "
                        "pg_class WHERE oid = to_regclass($1) AND relkind IN ('r', 'm') AND NOT "
                        "relhassubclass AND relam = (SELECT oid FROM pg_am WHERE amname = 'heap')",
                        parameters));
  if (row.num_rows() == 0) return whole;
  GNOMON_ASSIGN_OR_RETURN(const int64_t pages, row.Int64(0, 0));
  const int64_t count = std::min<int64_t>(most, pages / kPagesPerStream + 1);
  if (count < 2) return whole;
  std::vector<std::string> ranges;
  for (int64_t i = 0; i < count; ++i) {
    std::string range = Concat(kPostgresAlias, ".ctid >= '(", pages * i / count, ",0)'::tid");
    if (i + 1 < count)
      range += Concat(" AND ", kPostgresAlias, ".ctid < '(", pages * (i + 1) / count, ",0)'::tid");
    ranges.push_back(std::move(range));
  }
  return ranges;
}

}  // namespace gnomon::feature
