#include "model/preprocessor.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/utf8.h>

#include "base/text.h"
#include "model/feature_column.h"
#include "model/json_internal.h"

namespace gnomon::model {

namespace {

// Standardised values are cut here: one absurd input may not make a prediction infinite.
constexpr double kMaxDeviation = 1e6;

Result<std::shared_ptr<arrow::Array>> FindColumn(const arrow::RecordBatch& batch,
                                                 const std::string& name) {
  std::shared_ptr<arrow::Array> column = batch.GetColumnByName(name);
  if (column != nullptr) return column;
  const std::vector<std::string> names = batch.schema()->field_names();
  const bool ambiguous = std::ranges::count(names, name) > 1;
  return MakeError(
      ErrorKind::kUser,
      Concat("input column ", Quoted(name), ambiguous ? " stands twice" : " is missing"), {},
      ambiguous ? "" : DidYouMean(name, names));
}

Status CheckUtf8(std::string_view text, std::string_view column) {
  if (arrow::util::ValidateUTF8(text)) return Status::OK();
  return Error(ErrorKind::kUser, "column ", Quoted(column), " has a value that is no UTF-8 text");
}

Status NoValues(std::string_view name) {
  return Error(ErrorKind::kUser, "input column ", Quoted(name),
               " has no value in the training rows");
}

Result<FittedColumn> FitNumbers(const std::string& name, const arrow::Array& array,
                                const std::vector<int64_t>& rows) {
  GNOMON_ASSIGN_OR_RETURN(const std::vector<double> values, NumberColumn(array));
  std::vector<double> present;
  present.reserve(rows.size());
  for (const int64_t row : rows) {
    const double value = values[static_cast<size_t>(row)];
    if (!std::isnan(value)) present.push_back(value);
  }
  if (present.empty()) return NoValues(name);
  FittedColumn column{.name = name,
                      .kind = FittedColumn::Kind::kNumeric,
                      .mean = present.front(),
                      .scale = 1,
                      .missing_indicator = present.size() < rows.size(),
                      .categories = {}};
  const auto [least, greatest] = std::ranges::minmax(present);
  if (least == greatest) return column;
  // Sums of differences from the first value: times are 1e15, their differences are not.
  const auto count = static_cast<double>(present.size());
  double sum = 0;
  for (const double value : present) sum += value - present.front();
  column.mean = present.front() + sum / count;
  double squares = 0;
  for (const double value : present) squares += (value - column.mean) * (value - column.mean);
  const double scale = std::sqrt(squares / count);
  if (!std::isfinite(column.mean) || !std::isfinite(scale)) {
    return Error(ErrorKind::kUser, "the values of column ", Quoted(name),
                 " are too large to be scaled: up to ",
                 std::max(std::abs(least), std::abs(greatest)));
  }
  if (scale > 0) column.scale = scale;
  return column;
}

Result<FittedColumn> FitTexts(const std::string& name, const arrow::Array& array,
                              const std::vector<int64_t>& rows, int64_t max_categories) {
  GNOMON_ASSIGN_OR_RETURN(const auto values, TextColumn(array));
  std::set<std::string_view> categories;
  for (const int64_t row : rows) {
    const std::optional<std::string_view>& value = values[static_cast<size_t>(row)];
    if (!value.has_value() || !categories.insert(*value).second) continue;
    GNOMON_RETURN_NOT_OK(CheckUtf8(*value, name));
    if (std::cmp_greater(categories.size(), max_categories)) {
      return MakeError(ErrorKind::kUser,
                       Concat("text column ", Quoted(name), " has more than ", max_categories,
                              " values, too many for one input each"),
                       {}, "leave it out with 'drop'");
    }
  }
  if (categories.empty()) return NoValues(name);
  return FittedColumn{.name = name,
                      .kind = FittedColumn::Kind::kCategorical,
                      .mean = 0,
                      .scale = 1,
                      .missing_indicator = false,
                      .categories = {categories.begin(), categories.end()}};
}

Status WrongKind(const FittedColumn& column, const arrow::DataType& type) {
  const bool numeric = column.kind == FittedColumn::Kind::kNumeric;
  return Error(ErrorKind::kUser, "input column ", Quoted(column.name), " was a ",
               numeric ? "number" : "text", " in training; here its type is ", type.ToString());
}

// Writes the column's inputs of every row; `output` points at the first of row 0, rows are `stride`
// apart and zeroed.
Status TransformColumn(const FittedColumn& column, const arrow::Array& array, float* output,
                       int64_t stride) {
  const bool numeric = column.kind == FittedColumn::Kind::kNumeric;
  GNOMON_ASSIGN_OR_RETURN(const FeatureKind kind, FeatureKindOf(*array.type(), column.name));
  if (kind != FeatureKind::kNothing && (kind == FeatureKind::kNumber) != numeric) {
    return WrongKind(column, *array.type());
  }
  if (numeric) {
    GNOMON_ASSIGN_OR_RETURN(const std::vector<double> values, NumberColumn(array));
    for (const double value : values) {
      if (std::isnan(value)) {
        if (column.missing_indicator) output[1] = 1;
      } else {
        const double deviation = (value - column.mean) / column.scale;
        output[0] = static_cast<float>(std::clamp(deviation, -kMaxDeviation, kMaxDeviation));
      }
      output += stride;
    }
    return Status::OK();
  }
  GNOMON_ASSIGN_OR_RETURN(const auto values, TextColumn(array));
  for (const std::optional<std::string_view>& value : values) {
    if (value.has_value()) {
      const auto found = std::ranges::lower_bound(column.categories, *value, std::less<>());
      if (found != column.categories.end() && *found == *value)
        output[found - column.categories.begin()] = 1;
    }
    output += stride;
  }
  return Status::OK();
}

Result<FittedColumn> ParseColumn(const Json& json) {
  FittedColumn column;
  GNOMON_ASSIGN_OR_RETURN(column.name, TextOf(json, "name"));
  GNOMON_ASSIGN_OR_RETURN(const std::string kind, TextOf(json, "kind"));
  if (kind == "numeric") {
    GNOMON_ASSIGN_OR_RETURN(column.mean, NumberOf(json, "mean"));
    GNOMON_ASSIGN_OR_RETURN(column.scale, NumberOf(json, "scale"));
    GNOMON_ASSIGN_OR_RETURN(column.missing_indicator, BoolOf(json, "missing_indicator"));
    if (column.scale <= 0) return JsonError("scale", "a positive number");
  } else if (kind == "categorical") {
    column.kind = FittedColumn::Kind::kCategorical;
    GNOMON_ASSIGN_OR_RETURN(column.categories, TextsOf(json, "categories"));
    const bool ordered = std::ranges::adjacent_find(column.categories, std::greater_equal<>()) ==
                         column.categories.end();
    if (column.categories.empty() || !ordered)
      return JsonError("categories", "a sorted list of different texts");
  } else {
    return JsonError("kind", "'numeric' or 'categorical'");
  }
  return column;
}

}  // namespace

int64_t FittedColumn::inputs() const {
  if (kind == Kind::kCategorical) return std::ssize(categories);
  return missing_indicator ? 2 : 1;
}

Preprocessor::Preprocessor(std::vector<FittedColumn> columns) : columns_(std::move(columns)) {
  for (const FittedColumn& column : columns_) inputs_ += column.inputs();
}

Result<Preprocessor> Preprocessor::Fit(const arrow::RecordBatch& batch,
                                       const std::vector<std::string>& columns,
                                       const std::vector<int64_t>& rows, int64_t max_categories) {
  arrow::util::InitializeUTF8();
  if (columns.empty()) return Error(ErrorKind::kUser, "a model needs at least one input column");
  if (rows.empty()) return Error(ErrorKind::kUser, "there are no training rows");
  std::vector<FittedColumn> fitted;
  std::set<std::string_view> names;
  for (const std::string& name : columns) {
    if (!names.insert(name).second) {
      return Error(ErrorKind::kUser, "input column ", Quoted(name), " is named twice");
    }
    GNOMON_RETURN_NOT_OK(CheckUtf8(name, name));
    GNOMON_ASSIGN_OR_RETURN(const std::shared_ptr<arrow::Array> array, FindColumn(batch, name));
    GNOMON_ASSIGN_OR_RETURN(const FeatureKind kind, FeatureKindOf(*array->type(), name));
    if (kind == FeatureKind::kText) {
      GNOMON_ASSIGN_OR_RETURN(FittedColumn column, FitTexts(name, *array, rows, max_categories));
      fitted.push_back(std::move(column));
    } else {
      GNOMON_ASSIGN_OR_RETURN(FittedColumn column, FitNumbers(name, *array, rows));
      fitted.push_back(std::move(column));
    }
  }
  return Preprocessor(std::move(fitted));
}

std::string Preprocessor::ToJson() const {
  Json list = Json::array();
  for (const FittedColumn& column : columns_) {
    if (column.kind == FittedColumn::Kind::kNumeric) {
      list.push_back({{"name", column.name},
                      {"kind", "numeric"},
                      {"mean", column.mean},
                      {"scale", column.scale},
                      {"missing_indicator", column.missing_indicator}});
    } else {
      list.push_back(
          {{"name", column.name}, {"kind", "categorical"}, {"categories", column.categories}});
    }
  }
  return FormatJson(Json{{"columns", std::move(list)}});
}

Result<Preprocessor> Preprocessor::FromJson(const std::string& json) {
  GNOMON_ASSIGN_OR_RETURN(const Json document, ParseJson(json));
  const Json& list = MemberOf(document, "columns");
  if (!list.is_array() || list.empty()) return JsonError("columns", "a list of columns");
  std::vector<FittedColumn> columns;
  std::set<std::string> names;
  for (const Json& element : list) {
    GNOMON_ASSIGN_OR_RETURN(FittedColumn column, ParseColumn(element));
    if (!names.insert(column.name).second) {
      return Error(ErrorKind::kDataLoss, "input column ", Quoted(column.name), " stands twice");
    }
    columns.push_back(std::move(column));
  }
  return Preprocessor(std::move(columns));
}

Result<std::vector<float>> Preprocessor::Transform(const arrow::RecordBatch& batch) const {
  std::vector<float> inputs(static_cast<size_t>(batch.num_rows() * inputs_), 0.0F);
  float* first = inputs.data();
  for (const FittedColumn& column : columns_) {
    GNOMON_ASSIGN_OR_RETURN(const std::shared_ptr<arrow::Array> array,
                            FindColumn(batch, column.name));
    GNOMON_RETURN_NOT_OK(TransformColumn(column, *array, first, inputs_));
    first += column.inputs();
  }
  return inputs;
}

}  // namespace gnomon::model
