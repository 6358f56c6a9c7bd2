#include <algorithm>
#include <cctype>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/io/interfaces.h>
#include <arrow/json/options.h>
#include <arrow/json/reader.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/checked_cast.h>

#include "base/time.h"
#include "table/column.h"
#include "table/file_internal.h"

namespace gnomon::table::internal {

namespace {

using arrow::internal::checked_cast;

/// What the text of a timestamp shows beside the instant.
struct TimeText {
  int64_t micros = 0;
  int64_t nanos = 0;  ///< below the microsecond
  bool has_zone = false;
};

Result<TimeText> ParseTimeText(std::string_view text) {
  constexpr size_t kDateLength = 10;
  constexpr size_t kMicroDigits = 6;
  TimeText time;
  GNOMON_ASSIGN_OR_RETURN(time.micros, ParseTimestamp(text));
  const size_t point = text.find('.');
  size_t end = point == std::string_view::npos ? text.size() : point + 1;
  int64_t scale = 100;
  for (size_t digits = 0;
       end < text.size() && std::isdigit(static_cast<unsigned char>(text[end])) != 0; ++end) {
    if (++digits <= kMicroDigits) continue;
    time.nanos += (text[end] - '0') * scale;
    scale /= 10;
  }
  time.has_zone = text.find_first_of("Zz+-", kDateLength) != std::string_view::npos;
  return time;
}

/// timestamp[us] or [ns], naive or UTC, when every text of the column is a timestamp or a date;
/// null when one is not or when there is none.
std::shared_ptr<arrow::DataType> InferTime(const arrow::StringArray& texts) {
  bool has_zone = false;
  bool has_nanos = false;
  bool any = false;
  for (int64_t row = 0; row < texts.length(); ++row) {
    if (texts.IsNull(row)) continue;
    const auto time = ParseTimeText(texts.GetView(row));
    if (!time.ok()) return nullptr;
    any = true;
    has_zone = has_zone || time->has_zone;
    has_nanos = has_nanos || time->nanos != 0;
  }
  if (!any) return nullptr;
  return arrow::timestamp(has_nanos ? arrow::TimeUnit::NANO : arrow::TimeUnit::MICRO,
                          has_zone ? "UTC" : "");
}

/// What ParseTimes gives of a column that is wanted as `wanted`, a time, and shows no text yet.
std::shared_ptr<arrow::DataType> ParsedTypeOf(const arrow::DataType& wanted) {
  if (wanted.id() != arrow::Type::TIMESTAMP) return arrow::timestamp(arrow::TimeUnit::MICRO);
  const auto& time = checked_cast<const arrow::TimestampType&>(wanted);
  const bool has_nanos = time.unit() == arrow::TimeUnit::NANO;
  return arrow::timestamp(has_nanos ? arrow::TimeUnit::NANO : arrow::TimeUnit::MICRO,
                          time.timezone());
}

Result<std::shared_ptr<arrow::Array>> ParseTimes(const arrow::StringArray& texts,
                                                 const std::shared_ptr<arrow::DataType>& type,
                                                 const std::string& name) {
  const bool nanos = UnitNanos(*type) == 1;
  arrow::TimestampBuilder builder(type, arrow::default_memory_pool());
  GNOMON_RETURN_NOT_OK(builder.Reserve(texts.length()));
  for (int64_t row = 0; row < texts.length(); ++row) {
    if (texts.IsNull(row)) {
      builder.UnsafeAppendNull();
      continue;
    }
    const auto time = ParseTimeText(texts.GetView(row));
    if (!time.ok()) return WithContext(time.status(), Concat("column ", Quoted(name)));
    int64_t value = time->micros;
    const bool fits = !nanos || (!__builtin_mul_overflow(value, 1'000, &value) &&
                                 !__builtin_add_overflow(value, time->nanos, &value));
    if (!fits || (!nanos && time->nanos != 0)) {
      return MakeError(ErrorKind::kUser,
                       Concat("time does not fit ", type->ToString(), " of column ", Quoted(name),
                              ": ", texts.GetView(row)),
                       {}, "the unit follows from the first 64 MiB of a file");
    }
    builder.UnsafeAppend(value);
  }
  return builder.Finish();
}

/// Text columns whose values in the first batch are all times become timestamps; Arrow's own
/// inference, which knows only whole naive seconds, is brought to microseconds, so that one
/// fraction does not change the type.
class TimeInferringReader : public arrow::RecordBatchReader {
 public:
  static Result<std::shared_ptr<arrow::RecordBatchReader>> Make(
      std::shared_ptr<arrow::RecordBatchReader> lines, const std::shared_ptr<arrow::Schema>& like) {
    auto reader = std::make_shared<TimeInferringReader>(std::move(lines));
    GNOMON_RETURN_NOT_OK(reader->lines_->ReadNext(&reader->first_));
    arrow::FieldVector fields = reader->lines_->schema()->fields();
    for (size_t i = 0; i < fields.size(); ++i) {
      auto& field = fields[i];
      if (field->type()->id() == arrow::Type::TIMESTAMP)
        field = field->WithType(arrow::timestamp(arrow::TimeUnit::MICRO));
      if (field->type()->id() != arrow::Type::STRING || reader->first_ == nullptr) continue;
      const auto wanted = like == nullptr ? nullptr : like->GetFieldByName(field->name());
      if (wanted != nullptr && !IsTime(*wanted->type())) continue;
      const auto column = reader->first_->column(static_cast<int>(i));
      const auto type = column->null_count() == column->length() && wanted != nullptr
                            ? ParsedTypeOf(*wanted->type())
                            : InferTime(checked_cast<const arrow::StringArray&>(*column));
      if (type != nullptr) field = field->WithType(type);
    }
    reader->schema_ = arrow::schema(std::move(fields));
    return reader;
  }

  explicit TimeInferringReader(std::shared_ptr<arrow::RecordBatchReader> lines)
      : lines_(std::move(lines)) {}

  std::shared_ptr<arrow::Schema> schema() const override { return schema_; }

  Status ReadNext(std::shared_ptr<arrow::RecordBatch>* out) override {
    auto batch = std::move(first_);
    if (batch == nullptr) GNOMON_RETURN_NOT_OK(lines_->ReadNext(&batch));
    *out = nullptr;
    if (batch == nullptr) return Status::OK();
    // Arrow's parser takes texts as they are: bytes that are not UTF-8 end here.
    GNOMON_RETURN_NOT_OK(batch->ValidateFull());
    arrow::ArrayVector columns = batch->columns();
    for (size_t i = 0; i < columns.size(); ++i) {
      const auto& field = schema_->field(static_cast<int>(i));
      auto& column = columns[i];
      if (column->type()->Equals(*field->type())) continue;
      if (column->type_id() == arrow::Type::STRING) {
        const auto& texts = checked_cast<const arrow::StringArray&>(*column);
        GNOMON_ASSIGN_OR_RETURN(column, ParseTimes(texts, field->type(), field->name()));
      } else {
        GNOMON_ASSIGN_OR_RETURN(column, CastLossless(column, field->type()));
      }
    }
    *out = arrow::RecordBatch::Make(schema_, batch->num_rows(), std::move(columns));
    return Status::OK();
  }

 private:
  std::shared_ptr<arrow::RecordBatchReader> lines_;
  std::shared_ptr<arrow::RecordBatch> first_;
  std::shared_ptr<arrow::Schema> schema_;
};

/// The types to parse to, taken from the first file: times as text, which is then parsed here.
std::shared_ptr<arrow::Schema> ParseSchema(const arrow::Schema& like) {
  arrow::FieldVector fields;
  for (const auto& field : like.fields()) {
    const arrow::DataType& type = *field->type();
    if (type.id() == arrow::Type::NA) continue;
    if (IsTime(type)) {
      fields.push_back(arrow::field(field->name(), arrow::utf8()));
    } else if (type.id() == arrow::Type::DICTIONARY) {
      fields.push_back(arrow::field(field->name(),
                                    checked_cast<const arrow::DictionaryType&>(type).value_type()));
    } else {
      fields.push_back(arrow::field(field->name(), field->type()));
    }
  }
  return arrow::schema(std::move(fields));
}

Result<std::shared_ptr<arrow::RecordBatchReader>> OpenJsonReader(
    const std::string& path, const std::shared_ptr<arrow::Schema>& like) {
  GNOMON_ASSIGN_OR_RETURN(const auto input, OpenTextInput(path));
  auto read = arrow::json::ReadOptions::Defaults();
  read.use_threads = false;
  read.block_size = kInferenceBytes;
  auto parse = arrow::json::ParseOptions::Defaults();
  if (like != nullptr) parse.explicit_schema = ParseSchema(*like);
  auto lines = arrow::json::StreamingReader::Make(input, read, parse);
  if (!lines.ok()) {
    return WithHint(ReadError(lines.status(), path, ErrorKind::kUser),
                    "a JSON file holds one object a line");
  }
  auto reader = TimeInferringReader::Make(*lines, like);
  if (!reader.ok()) return ReadError(reader.status(), path, ErrorKind::kUser);
  return reader;
}

}  // namespace

Result<std::unique_ptr<FileSource>> OpenJsonFile(const std::string& path,
                                                 const std::shared_ptr<arrow::Schema>& like) {
  GNOMON_ASSIGN_OR_RETURN(auto version, FileVersion::Of(path));
  auto reader = OpenJsonReader(path, like);
  if (!reader.ok()) return version.Explain(path, reader.status());
  return MakeSequentialSource(
      path, std::move(version), *std::move(reader),
      [path, like] { return OpenJsonReader(path, like); }, -1, ErrorKind::kUser);
}

}  // namespace gnomon::table::internal
