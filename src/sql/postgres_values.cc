#include "sql/postgres_values.h"

#include <charconv>
#include <limits>
#include <utility>

#include <libpq-fe.h>

#include "base/text.h"
#include "sql/wire_bytes.h"

namespace gnomon::sql {

namespace {

template <typename T>
std::string BigEndian(T value) {
  std::string out;
  AppendBigEndian(&out, value);
  return out;
}

// The server's own infinity is the last instant; ours never reaches it.
int64_t ToPostgresMicros(int64_t micros) {
  constexpr int64_t kLeast = std::numeric_limits<int64_t>::min() + kPostgresEpochMicros + 1;
  return micros < kLeast ? std::numeric_limits<int64_t>::min() : micros - kPostgresEpochMicros;
}

}  // namespace

PostgresParameters& PostgresParameters::Add(uint32_t type, std::string bytes, bool binary) {
  const std::string& kept = bytes_.emplace_back(std::move(bytes));
  types_.push_back(type);
  values_.push_back(kept.c_str());
  lengths_.push_back(static_cast<int>(kept.size()));
  formats_.push_back(binary ? 1 : 0);
  return *this;
}

PostgresParameters& PostgresParameters::Null(uint32_t type) {
  types_.push_back(type);
  values_.push_back(nullptr);
  lengths_.push_back(0);
  formats_.push_back(1);
  return *this;
}

PostgresParameters& PostgresParameters::Bool(bool value) {
  return Add(oid::kBool, std::string(1, value ? '\1' : '\0'));
}
PostgresParameters& PostgresParameters::Int32(int32_t value) {
  return Add(oid::kInt4, BigEndian(value));
}
PostgresParameters& PostgresParameters::Int64(int64_t value) {
  return Add(oid::kInt8, BigEndian(value));
}
PostgresParameters& PostgresParameters::Double(double value) {
  return Add(oid::kFloat8, BigEndian(value));
}
PostgresParameters& PostgresParameters::Text(std::string_view value) {
  return Add(oid::kText, std::string(value));
}
PostgresParameters& PostgresParameters::Bytea(std::string_view value) {
  return Add(oid::kBytea, std::string(value));
}
PostgresParameters& PostgresParameters::Timestamptz(int64_t micros) {
  return Add(oid::kTimestamptz, BigEndian(ToPostgresMicros(micros)));
}
PostgresParameters& PostgresParameters::Timestamp(int64_t micros) {
  return Add(oid::kTimestamp, BigEndian(ToPostgresMicros(micros)));
}
PostgresParameters& PostgresParameters::Untyped(std::string_view literal) {
  return Add(oid::kUnknown, std::string(literal), false);
}

// An array: dimensions, whether it has NULLs, the elements' type, then size and lower bound of the
// dimension, then each element after its length.
template <typename T, typename Append>
PostgresParameters& PostgresParameters::AddArray(uint32_t type, uint32_t element,
                                                 std::span<const std::optional<T>> values,
                                                 Append append) {
  std::string out;
  bool has_null = false;
  for (const auto& value : values) has_null |= !value.has_value();
  AppendBigEndian<int32_t>(&out, values.empty() ? 0 : 1);
  AppendBigEndian<int32_t>(&out, has_null ? 1 : 0);
  AppendBigEndian<uint32_t>(&out, element);
  if (!values.empty()) {
    AppendBigEndian<int32_t>(&out, static_cast<int32_t>(values.size()));
    AppendBigEndian<int32_t>(&out, 1);
  }
  for (const auto& value : values) {
    if (!value.has_value()) {
      AppendBigEndian<int32_t>(&out, -1);
      continue;
    }
    append(&out, *value);
  }
  return Add(type, std::move(out));
}

PostgresParameters& PostgresParameters::BoolArray(std::span<const std::optional<bool>> values) {
  return AddArray(oid::kBoolArray, oid::kBool, values, [](std::string* out, bool value) {
    AppendBigEndian<int32_t>(out, 1);
    out->push_back(value ? '\1' : '\0');
  });
}

PostgresParameters& PostgresParameters::Int64Array(std::span<const std::optional<int64_t>> values) {
  return AddArray(oid::kInt8Array, oid::kInt8, values, [](std::string* out, int64_t value) {
    AppendBigEndian<int32_t>(out, 8);
    AppendBigEndian(out, value);
  });
}

PostgresParameters& PostgresParameters::DoubleArray(std::span<const std::optional<double>> values) {
  return AddArray(oid::kFloat8Array, oid::kFloat8, values, [](std::string* out, double value) {
    AppendBigEndian<int32_t>(out, 8);
    AppendBigEndian(out, value);
  });
}

PostgresParameters& PostgresParameters::TextArray(
    std::span<const std::optional<std::string_view>> values) {
  return AddArray(oid::kTextArray, oid::kText, values,
                  [](std::string* out, std::string_view value) {
                    AppendBigEndian(out, static_cast<int32_t>(value.size()));
                    out->append(value);
                  });
}

PostgresParameters& PostgresParameters::ByteaArray(
    std::span<const std::optional<std::string_view>> values) {
  return AddArray(oid::kByteaArray, oid::kBytea, values,
                  [](std::string* out, std::string_view value) {
                    AppendBigEndian(out, static_cast<int32_t>(value.size()));
                    out->append(value);
                  });
}

PostgresParameters& PostgresParameters::TimestamptzArray(
    std::span<const std::optional<int64_t>> micros) {
  return AddArray(oid::kTimestamptzArray, oid::kTimestamptz, micros,
                  [](std::string* out, int64_t value) {
                    AppendBigEndian<int32_t>(out, 8);
                    AppendBigEndian(out, ToPostgresMicros(value));
                  });
}

void PostgresParameters::Clear() {
  types_.clear();
  bytes_.clear();
  values_.clear();
  lengths_.clear();
  formats_.clear();
}

PostgresResult::PostgresResult(pg_result* result) : result_(result, &PQclear) {}

int64_t PostgresResult::num_rows() const { return PQntuples(result_.get()); }

int PostgresResult::num_columns() const { return PQnfields(result_.get()); }

std::string PostgresResult::name(int column) const {
  const char* name = PQfname(result_.get(), column);
  return name == nullptr ? "" : name;
}

uint32_t PostgresResult::type(int column) const { return PQftype(result_.get(), column); }

int64_t PostgresResult::affected_rows() const {
  const std::string_view text = result_ == nullptr ? "" : PQcmdTuples(result_.get());
  int64_t rows = 0;
  std::from_chars(text.data(), text.data() + text.size(), rows);
  return rows;
}

bool PostgresResult::IsNull(int64_t row, int column) const {
  return PQgetisnull(result_.get(), static_cast<int>(row), column) != 0;
}

std::string_view PostgresResult::Bytes(int64_t row, int column) const {
  const int at = static_cast<int>(row);
  return {PQgetvalue(result_.get(), at, column),
          static_cast<size_t>(PQgetlength(result_.get(), at, column))};
}

Status PostgresResult::WrongType(int64_t row, int column, std::string_view wanted) const {
  if (IsNull(row, column)) {
    return Error(ErrorKind::kDataLoss, "column ", Quoted(name(column)), " is NULL, expected ",
                 wanted);
  }
  return Error(ErrorKind::kDataLoss, "column ", Quoted(name(column)), " has PostgreSQL type ",
               type(column), ", expected ", wanted);
}

Result<bool> PostgresResult::Bool(int64_t row, int column) const {
  const std::string_view bytes = Bytes(row, column);
  if (type(column) != oid::kBool || bytes.size() != 1) return WrongType(row, column, "bool");
  return bytes[0] != 0;
}

Result<int64_t> PostgresResult::Int64(int64_t row, int column) const {
  const std::string_view bytes = Bytes(row, column);
  switch (type(column)) {
    case oid::kInt8:
      if (bytes.size() == 8) return ReadBigEndian<int64_t>(bytes.data());
      break;
    case oid::kInt4:
      if (bytes.size() == 4) return ReadBigEndian<int32_t>(bytes.data());
      break;
    case oid::kOid:
      if (bytes.size() == 4) return ReadBigEndian<uint32_t>(bytes.data());
      break;
    case oid::kInt2:
      if (bytes.size() == 2) return ReadBigEndian<int16_t>(bytes.data());
      break;
    default:
      break;
  }
  return WrongType(row, column, "an integer");
}

Result<double> PostgresResult::Double(int64_t row, int column) const {
  const std::string_view bytes = Bytes(row, column);
  if (type(column) == oid::kFloat8 && bytes.size() == 8) return ReadBigEndian<double>(bytes.data());
  if (type(column) == oid::kFloat4 && bytes.size() == 4)
    return static_cast<double>(ReadBigEndian<float>(bytes.data()));
  return WrongType(row, column, "a floating point number");
}

Result<std::string_view> PostgresResult::Text(int64_t row, int column) const {
  if (IsNull(row, column)) return WrongType(row, column, "text");
  const std::string_view bytes = Bytes(row, column);
  switch (type(column)) {
    case oid::kText:
    case oid::kVarchar:
    case oid::kChar:
    case oid::kName:
    case oid::kJson:
      return bytes;
    case oid::kJsonb:  // a format version, then the text
      if (!bytes.empty() && bytes[0] == 1) return bytes.substr(1);
      break;
    default:
      break;
  }
  return WrongType(row, column, "text");
}

Result<std::string_view> PostgresResult::Bytea(int64_t row, int column) const {
  if (type(column) != oid::kBytea || IsNull(row, column)) return WrongType(row, column, "bytea");
  return Bytes(row, column);
}

Result<int64_t> PostgresResult::Timestamptz(int64_t row, int column) const {
  const std::string_view bytes = Bytes(row, column);
  if ((type(column) != oid::kTimestamptz && type(column) != oid::kTimestamp) || bytes.size() != 8)
    return WrongType(row, column, "timestamptz");
  const auto micros = ReadBigEndian<int64_t>(bytes.data());
  if (micros == std::numeric_limits<int64_t>::min()) return micros;  // -infinity
  if (micros > std::numeric_limits<int64_t>::max() - kPostgresEpochMicros)
    return std::numeric_limits<int64_t>::max();  // infinity
  return micros + kPostgresEpochMicros;
}

}  // namespace gnomon::sql
