#include <arrow/array.h>
#include <arrow/csv/options.h>
#include <arrow/csv/reader.h>
#include <arrow/csv/writer.h>
#include <arrow/io/interfaces.h>
#include <arrow/ipc/writer.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/checked_cast.h>

#include "table/column.h"
#include "table/compute_internal.h"
#include "table/file_internal.h"

namespace gnomon::table::internal {

namespace {

using arrow::internal::checked_cast;

/// Types that CSV text is parsed to directly.
bool IsCsvType(const arrow::DataType& type) {
  return arrow::is_integer(type.id()) || arrow::is_floating(type.id()) ||
         arrow::is_decimal(type.id()) || arrow::is_base_binary_like(type.id()) ||
         type.id() == arrow::Type::BOOL || IsTime(type);
}

arrow::csv::ConvertOptions ConvertOptionsFor(const std::shared_ptr<arrow::Schema>& like) {
  auto options = arrow::csv::ConvertOptions::Defaults();
  // An empty field is null, "" is an empty string. NaN is a number.
  options.null_values = {"", "NULL", "null", "NA", "N/A", "n/a", "#N/A"};
  options.strings_can_be_null = true;
  options.quoted_strings_can_be_null = false;
  if (like != nullptr) {
    for (const auto& field : like->fields()) {
      if (IsCsvType(*field->type())) options.column_types[field->name()] = field->type();
    }
  }
  return options;
}

Result<std::shared_ptr<arrow::RecordBatchReader>> OpenCsvReader(
    const std::string& path, const std::shared_ptr<arrow::Schema>& like) {
  GNOMON_ASSIGN_OR_RETURN(const auto input, OpenTextInput(path));
  auto read = arrow::csv::ReadOptions::Defaults();
  read.use_threads = false;
  read.block_size = kInferenceBytes;
  auto parse = arrow::csv::ParseOptions::Defaults();
  parse.newlines_in_values = true;
  auto reader = arrow::csv::StreamingReader::Make(arrow::io::default_io_context(), input, read,
                                                  parse, ConvertOptionsFor(like));
  if (!reader.ok()) return ReadError(reader.status(), path, ErrorKind::kUser);
  return *reader;
}

/// Text has no dictionaries and no zones: values are decoded and instants written in UTC.
Result<std::shared_ptr<arrow::DataType>> CsvType(const arrow::Field& field) {
  const arrow::DataType& type = *field.type();
  if (type.id() == arrow::Type::DICTIONARY) {
    return checked_cast<const arrow::DictionaryType&>(type).value_type();
  }
  if (arrow::is_nested(type.id())) {
    return Error(ErrorKind::kUnsupported,
                 "a nested column cannot be written to CSV: ", Quoted(field.name()), " of type ",
                 type.ToString());
  }
  if (type.id() != arrow::Type::TIMESTAMP) return field.type();
  const auto& timestamp = checked_cast<const arrow::TimestampType&>(type);
  return timestamp.timezone().empty() ? field.type() : arrow::timestamp(timestamp.unit(), "UTC");
}

class CsvWriter : public FormatWriter {
 public:
  CsvWriter(std::shared_ptr<arrow::Schema> schema,
            std::shared_ptr<arrow::ipc::RecordBatchWriter> writer)
      : schema_(std::move(schema)), writer_(std::move(writer)) {}

  Status Write(const arrow::RecordBatch& batch) override {
    arrow::ArrayVector columns;
    for (int i = 0; i < batch.num_columns(); ++i) {
      GNOMON_ASSIGN_OR_RETURN(auto column,
                              CastLossless(batch.column(i), schema_->field(i)->type()));
      columns.push_back(std::move(column));
    }
    return writer_->WriteRecordBatch(
        *arrow::RecordBatch::Make(schema_, batch.num_rows(), std::move(columns)));
  }

  Status Finish() override { return writer_->Close(); }

 private:
  std::shared_ptr<arrow::Schema> schema_;
  std::shared_ptr<arrow::ipc::RecordBatchWriter> writer_;
};

}  // namespace

Result<std::unique_ptr<FileSource>> OpenCsvFile(const std::string& path,
                                                const std::shared_ptr<arrow::Schema>& like) {
  GNOMON_ASSIGN_OR_RETURN(auto version, FileVersion::Of(path));
  auto reader = OpenCsvReader(path, like);
  if (!reader.ok()) return version.Explain(path, reader.status());
  return MakeSequentialSource(
      path, std::move(version), *std::move(reader),
      [path, like] { return OpenCsvReader(path, like); }, -1, ErrorKind::kUser);
}

Result<std::unique_ptr<FormatWriter>> MakeCsvWriter(const Sink& sink,
                                                    const std::shared_ptr<arrow::Schema>& schema) {
  GNOMON_RETURN_NOT_OK(InitializeCompute());
  arrow::FieldVector fields;
  for (const auto& field : schema->fields()) {
    GNOMON_ASSIGN_OR_RETURN(const auto type, CsvType(*field));
    fields.push_back(field->WithType(type));
  }
  auto csv_schema = arrow::schema(std::move(fields));
  auto options = arrow::csv::WriteOptions::Defaults();
  options.batch_size = 16 * 1024;
  GNOMON_ASSIGN_OR_RETURN(auto writer, arrow::csv::MakeCSVWriter(sink, csv_schema, options));
  return std::make_unique<CsvWriter>(std::move(csv_schema), std::move(writer));
}

}  // namespace gnomon::table::internal
