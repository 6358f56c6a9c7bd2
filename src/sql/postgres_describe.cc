#include <algorithm>
#include <array>
#include <utility>

#include <arrow/type.h>
#include <libpq-fe.h>

#include "base/text.h"
#include "sql/postgres_batches_internal.h"
#include "sql/postgres_internal.h"
#include "sql/sqlite.h"

namespace gnomon::sql {

namespace {

struct ArrayType {
  uint32_t array;
  uint32_t element;
};

constexpr std::array kArrays = {ArrayType{oid::kBoolArray, oid::kBool},
                                ArrayType{oid::kByteaArray, oid::kBytea},
                                ArrayType{oid::kNameArray, oid::kName},
                                ArrayType{oid::kInt2Array, oid::kInt2},
                                ArrayType{oid::kInt4Array, oid::kInt4},
                                ArrayType{oid::kTextArray, oid::kText},
                                ArrayType{oid::kCharArray, oid::kChar},
                                ArrayType{oid::kVarcharArray, oid::kVarchar},
                                ArrayType{oid::kInt8Array, oid::kInt8},
                                ArrayType{oid::kFloat4Array, oid::kFloat4},
                                ArrayType{oid::kFloat8Array, oid::kFloat8},
                                ArrayType{oid::kOidArray, oid::kOid},
                                ArrayType{oid::kTimestampArray, oid::kTimestamp},
                                ArrayType{oid::kDateArray, oid::kDate},
                                ArrayType{oid::kTimestamptzArray, oid::kTimestamptz},
                                ArrayType{oid::kNumericArray, oid::kNumeric},
                                ArrayType{oid::kUuidArray, oid::kUuid},
                                ArrayType{oid::kJsonArray, oid::kJson},
                                ArrayType{oid::kJsonbArray, oid::kJsonb}};

std::shared_ptr<arrow::DataType> ScalarType(uint32_t type) {
  switch (type) {
    case oid::kBool:
      return arrow::boolean();
    case oid::kInt2:
    case oid::kInt4:
      return arrow::int32();
    case oid::kInt8:
    case oid::kOid:
      return arrow::int64();
    case oid::kFloat4:
      return arrow::float32();
    case oid::kFloat8:
    case oid::kNumeric:
      return arrow::float64();
    case oid::kText:
    case oid::kVarchar:
    case oid::kChar:
    case oid::kName:
    case oid::kInternalChar:
    case oid::kXml:
    case oid::kJson:
    case oid::kJsonb:
    case oid::kUuid:
      return arrow::utf8();
    case oid::kBytea:
      return arrow::binary();
    case oid::kDate:
      return arrow::date32();
    case oid::kTimestamp:
      return arrow::timestamp(arrow::TimeUnit::MICRO);
    case oid::kTimestamptz:
      return arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
    default:
      return nullptr;
  }
}

std::string CastHint(const PostgresColumn& column) {
  const std::string name = QuoteIdentifier(column.name);
  if (column.type == oid::kInterval)
    return Concat("write extract(epoch from ", name, ") AS ", name, " in a `query:`");
  return Concat("write ", name, "::text AS ", name, " in a `query:`, or leave the column out");
}

/// Names of types, and whether they are text on the wire.
Status NameTypes(const Context& context, Postgres* connection,
                 std::vector<PostgresColumn>* columns) {
  std::vector<std::optional<int64_t>> types;
  for (const PostgresColumn& column : *columns) types.emplace_back(column.type);
  PostgresParameters parameters;
  parameters.Int64Array(types);
  GNOMON_ASSIGN_OR_RETURN(
      const PostgresResult rows,
      connection->Query(context,
                        "SELECT oid, format_type(oid, NULL), typtype = 'e' OR typname = 'citext' "
                        "FROM pg_type WHERE oid::int8 = ANY($1)",
                        parameters));
  for (int64_t row = 0; row < rows.num_rows(); ++row) {
    GNOMON_ASSIGN_OR_RETURN(const int64_t type, rows.Int64(row, 0));
    GNOMON_ASSIGN_OR_RETURN(const std::string_view name, rows.Text(row, 1));
    GNOMON_ASSIGN_OR_RETURN(const bool is_label, rows.Bool(row, 2));
    for (PostgresColumn& column : *columns) {
      if (column.type != type) continue;
      column.type_name = name;
      column.is_label = is_label;
    }
  }
  return Status::OK();
}

}  // namespace

uint32_t ElementOf(uint32_t type) {
  const auto* found = std::ranges::find(kArrays, type, &ArrayType::array);
  return found == kArrays.end() ? 0 : found->element;
}

Result<std::shared_ptr<arrow::DataType>> ArrowTypeOf(const PostgresColumn& column) {
  if (column.is_label) return arrow::utf8();
  if (auto scalar = ScalarType(column.type)) return scalar;
  if (const uint32_t element = ElementOf(column.type); element != 0)
    return arrow::list(ScalarType(element));
  return MakeError(ErrorKind::kUnsupported,
                   Concat("column ", Quoted(column.name), " has PostgreSQL type ", column.type_name,
                          ", which no feature has"),
                   {}, CastHint(column));
}

Result<std::vector<PostgresColumn>> DescribeQuery(const Context& context, Postgres* connection,
                                                  const std::string& query) {
  Postgres::State* state = connection->state();
  GNOMON_RETURN_NOT_OK(state->CheckReady(context));
  if (PQsendPrepare(state->connection, "", query.c_str(), 0, nullptr) == 0)
    return state->ErrorOf(nullptr, query);
  GNOMON_RETURN_NOT_OK(state->Collect(context, query));
  if (PQsendDescribePrepared(state->connection, "") == 0) return state->ErrorOf(nullptr, query);
  GNOMON_ASSIGN_OR_RETURN(const PostgresResult described, state->Collect(context, query));
  std::vector<PostgresColumn> columns;
  for (int i = 0; i < described.num_columns(); ++i)
    columns.push_back({described.name(i), described.type(i), {}, false});
  if (columns.empty()) return Error(ErrorKind::kUser, "the query gives no columns: ", query);
  GNOMON_RETURN_NOT_OK(NameTypes(context, connection, &columns));
  return columns;
}

}  // namespace gnomon::sql
