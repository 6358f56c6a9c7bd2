#include "net/json_columns.h"

#include <utility>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <simdjson.h>

#include "base/text.h"

namespace gnomon::net {
namespace {

using simdjson::dom::element;
using simdjson::dom::element_type;

enum class Kind { kNull, kBool, kInt, kDouble, kString, kList };

std::string_view NameOf(Kind kind) {
  switch (kind) {
    case Kind::kNull:
      return "null";
    case Kind::kBool:
      return "boolean";
    case Kind::kInt:
      return "integer";
    case Kind::kDouble:
      return "number";
    case Kind::kString:
      return "string";
    case Kind::kList:
      return "array";
  }
  return "";
}

Result<Kind> KindOfElement(element value, const std::string& where) {
  switch (value.type()) {
    case element_type::NULL_VALUE:
      return Kind::kNull;
    case element_type::BOOL:
      return Kind::kBool;
    case element_type::INT64:
      return Kind::kInt;
    case element_type::DOUBLE:
      return Kind::kDouble;
    case element_type::STRING:
      return Kind::kString;
    case element_type::ARRAY:
      return Kind::kList;
    case element_type::UINT64:
      return Error(ErrorKind::kUser, where, ": the integer does not fit 64 bits with sign");
    case element_type::OBJECT:
      break;
  }
  return Error(ErrorKind::kUser, where, ": expected a value, got an object");
}

Result<Kind> Combine(Kind left, Kind right, const std::string& where) {
  if (left == right || right == Kind::kNull) return left;
  if (left == Kind::kNull) return right;
  const bool numbers = (left == Kind::kInt || left == Kind::kDouble) &&
                       (right == Kind::kInt || right == Kind::kDouble);
  if (numbers) return Kind::kDouble;
  return Error(ErrorKind::kUser, where, ": a column holds values of one type, this one has ",
               NameOf(left), "s and ", NameOf(right), "s");
}

/// A missing value is a default-constructed optional.
using Cells = std::vector<std::optional<element>>;

Result<std::shared_ptr<arrow::Array>> MakeColumn(const Cells& cells, const std::string& where,
                                                 int depth);

template <typename Builder, typename Value>
Result<std::shared_ptr<arrow::Array>> Fill(const Cells& cells) {
  Builder builder;
  GNOMON_RETURN_NOT_OK(builder.Reserve(static_cast<int64_t>(cells.size())));
  for (const auto& cell : cells) {
    if (!cell || cell->is_null()) {
      GNOMON_RETURN_NOT_OK(builder.AppendNull());
    } else {
      GNOMON_RETURN_NOT_OK(builder.Append(Value(*cell)));
    }
  }
  return builder.Finish();
}

struct AsBool {
  explicit AsBool(element cell) : value(cell.get_bool().value_unsafe()) {}
  operator bool() const { return value; }
  bool value;
};
struct AsInt {
  explicit AsInt(element cell) : value(cell.get_int64().value_unsafe()) {}
  operator int64_t() const { return value; }
  int64_t value;
};
struct AsDouble {
  explicit AsDouble(element cell)
      : value(cell.is_int64() ? static_cast<double>(cell.get_int64().value_unsafe())
                              : cell.get_double().value_unsafe()) {}
  operator double() const { return value; }
  double value;
};
struct AsString {
  explicit AsString(element cell) : value(cell.get_string().value_unsafe()) {}
  operator std::string_view() const { return value; }
  std::string_view value;
};

Result<std::shared_ptr<arrow::Array>> MakeList(const Cells& cells, const std::string& where,
                                               int depth) {
  Cells inner;
  arrow::Int32Builder offsets;
  arrow::TypedBufferBuilder<bool> validity;
  int64_t nulls = 0;
  for (const auto& cell : cells) {
    GNOMON_RETURN_NOT_OK(offsets.Append(static_cast<int32_t>(inner.size())));
    const bool valid = cell && !cell->is_null();
    GNOMON_RETURN_NOT_OK(validity.Append(valid));
    if (!valid) {
      ++nulls;
      continue;
    }
    const simdjson::dom::array items(cell->get_array());
    for (element value : items) inner.emplace_back(value);
  }
  GNOMON_RETURN_NOT_OK(offsets.Append(static_cast<int32_t>(inner.size())));
  GNOMON_ASSIGN_OR_RETURN(auto values, MakeColumn(inner, where + "[]", depth + 1));
  GNOMON_ASSIGN_OR_RETURN(auto offset_array, offsets.Finish());
  GNOMON_ASSIGN_OR_RETURN(auto bitmap, validity.Finish());
  return std::make_shared<arrow::ListArray>(
      arrow::list(values->type()), static_cast<int64_t>(cells.size()),
      offset_array->data()->buffers[1], values, nulls > 0 ? bitmap : nullptr, nulls);
}

Result<std::shared_ptr<arrow::Array>> MakeColumn(const Cells& cells, const std::string& where,
                                                 int depth) {
  if (depth > 1) return Error(ErrorKind::kUser, where, ": arrays of arrays are not accepted");
  Kind kind = Kind::kNull;
  for (size_t i = 0; i < cells.size(); ++i) {
    if (!cells[i]) continue;
    GNOMON_ASSIGN_OR_RETURN(Kind own, KindOfElement(*cells[i], Concat(where, "[", i, "]")));
    GNOMON_ASSIGN_OR_RETURN(kind, Combine(kind, own, where));
  }
  switch (kind) {
    case Kind::kNull:
      return std::make_shared<arrow::NullArray>(static_cast<int64_t>(cells.size()));
    case Kind::kBool:
      return Fill<arrow::BooleanBuilder, AsBool>(cells);
    case Kind::kInt:
      return Fill<arrow::Int64Builder, AsInt>(cells);
    case Kind::kDouble:
      return Fill<arrow::DoubleBuilder, AsDouble>(cells);
    case Kind::kString:
      return Fill<arrow::StringBuilder, AsString>(cells);
    case Kind::kList:
      break;
  }
  return MakeList(cells, where, depth);
}

Result<std::shared_ptr<arrow::RecordBatch>> Columns(element root, const std::string& where) {
  simdjson::dom::object object;
  if (root.get_object().get(object) != simdjson::SUCCESS) {
    return Error(ErrorKind::kUser, where, ": expected an object of columns");
  }
  arrow::FieldVector fields;
  arrow::ArrayVector arrays;
  int64_t rows = -1;
  for (const auto& [key, value] : object) {
    const std::string path = Concat(where, ".", key);
    simdjson::dom::array values;
    if (value.get_array().get(values) != simdjson::SUCCESS) {
      return Error(ErrorKind::kUser, path, ": expected an array of values");
    }
    Cells cells;
    for (element cell : values) cells.emplace_back(cell);
    const auto size = static_cast<int64_t>(cells.size());
    if (rows >= 0 && size != rows) {
      return Error(ErrorKind::kUser, path, ": has ", size, " values, the columns before it ", rows);
    }
    rows = size;
    for (const auto& field : fields) {
      if (field->name() == key) return Error(ErrorKind::kUser, path, ": stands twice");
    }
    GNOMON_ASSIGN_OR_RETURN(auto column, MakeColumn(cells, path, 0));
    fields.push_back(arrow::field(std::string(key), column->type()));
    arrays.push_back(std::move(column));
  }
  return arrow::RecordBatch::Make(arrow::schema(std::move(fields)), std::max<int64_t>(rows, 0),
                                  std::move(arrays));
}

Result<std::shared_ptr<arrow::RecordBatch>> Rows(element root, const std::string& where) {
  simdjson::dom::array array;
  if (root.get_array().get(array) != simdjson::SUCCESS) {
    return Error(ErrorKind::kUser, where, ": expected an array of objects");
  }
  const size_t num_rows = array.size();
  std::vector<std::string> names;
  std::vector<Cells> columns;
  size_t row = 0;
  for (element value : array) {
    simdjson::dom::object object;
    if (value.get_object().get(object) != simdjson::SUCCESS) {
      return Error(ErrorKind::kUser, where, "[", row, "]: expected an object");
    }
    size_t place = 0;
    for (const auto& [key, cell] : object) {
      // Rows usually have the same keys in the same order.
      if (place >= names.size() || names[place] != key) {
        place = static_cast<size_t>(std::ranges::find(names, key) - names.begin());
        if (place == names.size()) {
          names.emplace_back(key);
          columns.emplace_back(num_rows);
        }
      }
      columns[place][row] = cell;
      ++place;
    }
    ++row;
  }
  arrow::FieldVector fields;
  arrow::ArrayVector arrays;
  for (size_t i = 0; i < names.size(); ++i) {
    GNOMON_ASSIGN_OR_RETURN(auto column, MakeColumn(columns[i], Concat(where, "[].", names[i]), 0));
    fields.push_back(arrow::field(names[i], column->type()));
    arrays.push_back(std::move(column));
  }
  return arrow::RecordBatch::Make(arrow::schema(std::move(fields)), static_cast<int64_t>(num_rows),
                                  std::move(arrays));
}

}  // namespace

struct JsonDocument::Impl {
  simdjson::dom::parser parser;
  element root;

  Result<element> Find(std::string_view member) const {
    element value;
    const auto error = root[member].get(value);
    if (error == simdjson::INCORRECT_TYPE) return Error(ErrorKind::kUser, "expected a JSON object");
    if (error != simdjson::SUCCESS)
      return Error(ErrorKind::kNotFound, Quoted(member), " is missing");
    return value;
  }
};

JsonDocument::JsonDocument() : impl_(std::make_unique<Impl>()) {}
JsonDocument::JsonDocument(JsonDocument&&) noexcept = default;
JsonDocument& JsonDocument::operator=(JsonDocument&&) noexcept = default;
JsonDocument::~JsonDocument() = default;

Result<JsonDocument> JsonDocument::Parse(std::string_view text, size_t readable) {
  JsonDocument document;
  const bool padded = readable >= text.size() + simdjson::SIMDJSON_PADDING;
  const auto error =
      document.impl_->parser.parse(text.data(), text.size(), !padded).get(document.impl_->root);
  if (error != simdjson::SUCCESS) {
    return Error(ErrorKind::kUser, "the text is not valid JSON: ", simdjson::error_message(error));
  }
  return document;
}

Result<std::vector<std::string>> JsonDocument::Members() const {
  simdjson::dom::object object;
  if (impl_->root.get_object().get(object) != simdjson::SUCCESS) {
    return Error(ErrorKind::kUser, "expected a JSON object");
  }
  std::vector<std::string> names;
  for (const auto& field : object) names.emplace_back(field.key);
  return names;
}

bool JsonDocument::Has(std::string_view member) const { return impl_->Find(member).ok(); }

bool JsonDocument::HasValue(std::string_view member) const {
  const auto value = impl_->Find(member);
  return value.ok() && !value->is_null();
}

Result<std::string> JsonDocument::GetString(std::string_view member) const {
  GNOMON_ASSIGN_OR_RETURN(element value, impl_->Find(member));
  std::string_view text;
  if (value.get_string().get(text) != simdjson::SUCCESS) {
    return Error(ErrorKind::kUser, Quoted(member), ": expected a string");
  }
  return std::string(text);
}

Result<bool> JsonDocument::GetBool(std::string_view member) const {
  GNOMON_ASSIGN_OR_RETURN(element value, impl_->Find(member));
  bool flag = false;
  if (value.get_bool().get(flag) != simdjson::SUCCESS) {
    return Error(ErrorKind::kUser, Quoted(member), ": expected true or false");
  }
  return flag;
}

Result<std::vector<std::string>> JsonDocument::GetStrings(std::string_view member) const {
  GNOMON_ASSIGN_OR_RETURN(element value, impl_->Find(member));
  simdjson::dom::array array;
  if (value.get_array().get(array) != simdjson::SUCCESS) {
    return Error(ErrorKind::kUser, Quoted(member), ": expected an array of strings");
  }
  std::vector<std::string> texts;
  for (element item : array) {
    std::string_view text;
    if (item.get_string().get(text) != simdjson::SUCCESS) {
      return Error(ErrorKind::kUser, member, "[", texts.size(), "]: expected a string");
    }
    texts.emplace_back(text);
  }
  return texts;
}

Result<std::shared_ptr<arrow::RecordBatch>> JsonDocument::GetColumns(
    std::string_view member) const {
  GNOMON_ASSIGN_OR_RETURN(element value, impl_->Find(member));
  return Columns(value, std::string(member));
}

Result<std::shared_ptr<arrow::RecordBatch>> JsonDocument::GetRows(std::string_view member) const {
  GNOMON_ASSIGN_OR_RETURN(element value, impl_->Find(member));
  return Rows(value, std::string(member));
}

Result<std::shared_ptr<arrow::RecordBatch>> JsonDocument::AsTable() const {
  if (impl_->root.is_array()) return Rows(impl_->root, "rows");
  return Columns(impl_->root, "columns");
}

}  // namespace gnomon::net
