#include <bit>
#include <utility>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "base/time.h"
#include "feature/offline/sqlite_values_internal.h"

namespace gnomon::feature {

using sql::SqliteStatement;
using sql::SqliteType;

namespace {

constexpr int64_t kMicrosPerDay = int64_t{86'400'000'000};

Status Misfit(const SqliteStatement& row, int column, const arrow::DataType& type) {
  return MakeError(ErrorKind::kUser,
                   Concat("column ", Quoted(row.ColumnName(column)), " is ", type.ToString(),
                          " but holds: ", Quoted(row.Text(column).substr(0, 40))),
                   {}, "SQLite keeps any value in any column: cast it in a `query:`");
}

Status BindValue(const arrow::Array& array, int64_t row, int index, SqliteStatement* statement) {
  if (array.IsNull(row)) {
    statement->BindNull(index);
    return Status::OK();
  }
  switch (array.type_id()) {
    case arrow::Type::BOOL:
      statement->BindInt(index, static_cast<const arrow::BooleanArray&>(array).Value(row) ? 1 : 0);
      return Status::OK();
    case arrow::Type::INT64:
      statement->BindInt(index, static_cast<const arrow::Int64Array&>(array).Value(row));
      return Status::OK();
    case arrow::Type::DOUBLE:
      statement->BindDouble(index, static_cast<const arrow::DoubleArray&>(array).Value(row));
      return Status::OK();
    case arrow::Type::STRING:
      statement->BindText(index, static_cast<const arrow::StringArray&>(array).GetView(row));
      return Status::OK();
    case arrow::Type::BINARY:
      statement->BindBlob(index, static_cast<const arrow::BinaryArray&>(array).GetView(row));
      return Status::OK();
    default:
      return Error(ErrorKind::kUnsupported, "no SQLite value of ", array.type()->ToString());
  }
}

/// Times as the text that SQLite's own functions read.
Result<std::shared_ptr<arrow::Array>> TextOfTimes(const arrow::Array& array) {
  arrow::StringBuilder texts;
  for (int64_t row = 0; row < array.length(); ++row) {
    if (array.IsNull(row)) {
      GNOMON_RETURN_NOT_OK(texts.AppendNull());
    } else if (array.type_id() == arrow::Type::TIMESTAMP) {
      GNOMON_RETURN_NOT_OK(texts.Append(
          FormatTimestamp(static_cast<const arrow::TimestampArray&>(array).Value(row))));
    } else {
      const int64_t days = static_cast<const arrow::Date32Array&>(array).Value(row);
      GNOMON_RETURN_NOT_OK(texts.Append(FormatTimestamp(days * kMicrosPerDay).substr(0, 10)));
    }
  }
  return texts.Finish();
}

}  // namespace

std::shared_ptr<arrow::DataType> DeclaredType(const std::string& declared) {
  const std::string type = ToLower(declared);
  const auto has = [&](const char* part) { return type.find(part) != std::string::npos; };
  if (type.empty()) return nullptr;
  if (has("bool")) return arrow::boolean();
  if (has("datetime") || has("timestamp")) return arrow::timestamp(arrow::TimeUnit::MICRO);
  if (type == "date") return arrow::date32();
  if (has("int")) return arrow::int64();
  if (has("char") || has("clob") || has("text")) return arrow::utf8();
  if (has("blob")) return arrow::binary();
  return arrow::float64();
}

std::shared_ptr<arrow::DataType> TypeOfValue(SqliteType type) {
  switch (type) {
    case SqliteType::kInteger:
      return arrow::int64();
    case SqliteType::kReal:
      return arrow::float64();
    case SqliteType::kBlob:
      return arrow::binary();
    default:
      return arrow::utf8();
  }
}

Status AppendTo(const SqliteStatement& row, int column, arrow::ArrayBuilder* builder) {
  const SqliteType kind = row.Type(column);
  if (kind == SqliteType::kNull) return builder->AppendNull();
  const arrow::DataType& type = *builder->type();
  const bool is_number = kind == SqliteType::kInteger || kind == SqliteType::kReal;
  switch (type.id()) {
    case arrow::Type::BOOL:
      if (kind != SqliteType::kInteger || (row.Int(column) & ~int64_t{1}) != 0) break;
      return static_cast<arrow::BooleanBuilder*>(builder)->Append(row.Int(column) != 0);
    case arrow::Type::INT64:
      if (kind != SqliteType::kInteger) break;
      return static_cast<arrow::Int64Builder*>(builder)->Append(row.Int(column));
    case arrow::Type::DOUBLE:
      if (!is_number) break;
      return static_cast<arrow::DoubleBuilder*>(builder)->Append(row.Double(column));
    case arrow::Type::STRING:
      if (kind != SqliteType::kText) break;
      return static_cast<arrow::StringBuilder*>(builder)->Append(row.Text(column));
    case arrow::Type::BINARY:
      if (is_number) break;
      return static_cast<arrow::BinaryBuilder*>(builder)->Append(row.Blob(column));
    default: {  // times are text
      const auto micros = kind == SqliteType::kText
                              ? ParseTimestamp(row.Text(column))
                              : Result<int64_t>(Error(ErrorKind::kUser, "no text"));
      if (!micros.ok()) break;
      if (type.id() == arrow::Type::TIMESTAMP)
        return static_cast<arrow::TimestampBuilder*>(builder)->Append(*micros);
      if (*micros % kMicrosPerDay != 0) break;
      return static_cast<arrow::Date32Builder*>(builder)->Append(
          static_cast<int32_t>(*micros / kMicrosPerDay));
    }
  }
  return Misfit(row, column, type);
}

/// FNV-1a over types and values of a row, then mixed so that all bits count alike.
int64_t HashOf(const SqliteStatement& row) {
  uint64_t hash = 0xcbf29ce484222325;
  const auto add = [&](std::string_view bytes) {
    for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  };
  const auto add_number = [&](uint64_t number) {
    hash = (hash ^ number) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 29;
  };
  for (int column = 0; column < row.ColumnCount(); ++column) {
    const SqliteType type = row.Type(column);
    add_number(static_cast<uint64_t>(type));
    if (type == SqliteType::kInteger) {
      add_number(static_cast<uint64_t>(row.Int(column)));
    } else if (type == SqliteType::kReal) {
      add_number(std::bit_cast<uint64_t>(row.Double(column)));
    } else if (type != SqliteType::kNull) {
      const std::string_view bytes =
          type == SqliteType::kText ? row.Text(column) : row.Blob(column);
      add_number(bytes.size());
      add(bytes);
    }
  }
  hash = (hash ^ (hash >> 31)) * 0xbf58476d1ce4e5b9;
  return static_cast<int64_t>(hash ^ (hash >> 32));
}

Status InsertRows(const arrow::RecordBatch& batch, SqliteStatement* statement) {
  arrow::ArrayVector columns = batch.columns();
  for (auto& column : columns) {
    const bool is_time =
        column->type_id() == arrow::Type::TIMESTAMP || column->type_id() == arrow::Type::DATE32;
    if (!is_time) continue;
    GNOMON_ASSIGN_OR_RETURN(column, TextOfTimes(*column));
  }
  for (int64_t row = 0; row < batch.num_rows(); ++row) {
    for (size_t i = 0; i < columns.size(); ++i)
      GNOMON_RETURN_NOT_OK(BindValue(*columns[i], row, static_cast<int>(i) + 1, statement));
    GNOMON_RETURN_NOT_OK(statement->Execute());
  }
  return Status::OK();
}

}  // namespace gnomon::feature
