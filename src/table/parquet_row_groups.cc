#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/io/interfaces.h>
#include <arrow/ipc/writer.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <arrow/util/base64.h>
#include <arrow/util/bitmap_reader.h>
#include <arrow/util/key_value_metadata.h>
#include <parquet/arrow/schema.h>
#include <parquet/arrow/writer.h>
#include <parquet/column_writer.h>
#include <parquet/exception.h>
#include <parquet/file_writer.h>
#include <parquet/schema.h>

#include "base/memory_reservation.h"
#include "base/mutex.h"
#include "base/parallel.h"
#include "table/column.h"
#include "table/parquet_row_groups_internal.h"

namespace gnomon::table::internal {

namespace {

/// Rows that go into a column's writer together: whole ones of its own batches of 1,024.
constexpr int64_t kPieceRows = int64_t{64} * 1024;

/// Any schema: Arrow's writer takes lists apart.
class NestedSink : public RowGroupSink {
 public:
  explicit NestedSink(std::unique_ptr<parquet::arrow::FileWriter> writer)
      : writer_(std::move(writer)) {}

  Status Write(const arrow::Table& rows, int64_t /*num_bytes*/) override {
    return writer_->WriteTable(rows, rows.num_rows());
  }
  Status Close() override { return writer_->Close(); }

 private:
  std::unique_ptr<parquet::arrow::FileWriter> writer_;
};

/// Is a value present? What Parquet calls definition levels of a flat column.
void SetLevels(const arrow::Array& array, std::vector<int16_t>* levels) {
  levels->assign(static_cast<size_t>(array.length()), array.type_id() == arrow::Type::NA ? 0 : 1);
  const uint8_t* const validity = array.null_bitmap_data();
  if (validity == nullptr || array.null_count() == 0) return;
  arrow::internal::BitmapReader bits(validity, array.offset(), array.length());
  for (int16_t& level : *levels) {
    level = bits.IsSet() ? 1 : 0;
    bits.Next();
  }
}

bool HasNullValues(const arrow::Array& array) {
  return array.type_id() == arrow::Type::DICTIONARY &&
         static_cast<const arrow::DictionaryArray&>(array).dictionary()->null_count() > 0;
}

/// The chunks as Parquet's column writer takes them: without extension types, which it passes over
/// in silence, and without dictionaries of which a value is null, which it would encode.
Result<arrow::ArrayVector> WritableChunks(const arrow::ChunkedArray& column) {
  arrow::ArrayVector chunks = column.chunks();
  if (column.type()->id() == arrow::Type::EXTENSION) {
    for (auto& chunk : chunks) chunk = static_cast<const arrow::ExtensionArray&>(*chunk).storage();
  }
  // All of them: the writer takes no dictionary behind plain values.
  const bool decodes =
      std::ranges::any_of(chunks, [](const auto& chunk) { return HasNullValues(*chunk); });
  for (size_t i = 0; decodes && i < chunks.size(); ++i) {
    const auto& type = static_cast<const arrow::DictionaryType&>(*chunks[i]->type());
    GNOMON_ASSIGN_OR_RETURN(chunks[i], CastLossless(chunks[i], type.value_type()));
  }
  return chunks;
}

/// Puts the columns of a buffered row group into the file in their order, each as soon as those
/// before it are there: what is written needs no memory any more, and others are encoded meanwhile.
class OrderedColumns {
 public:
  OrderedColumns(parquet::RowGroupWriter* group, int num_columns)
      : group_(group), is_encoded_(static_cast<size_t>(num_columns)) {}

  /// Thread-safe. Writes when nobody else does. After an error nothing is written any more.
  Status SetEncoded(int column) {
    for (int next = Begin(column); next >= 0; next = Next()) GNOMON_RETURN_NOT_OK(Write(next));
    return Status::OK();
  }

 private:
  /// The column that the caller is to write, -1: none.
  int Begin(int column) {
    const MutexLock lock(mutex_);
    is_encoded_[static_cast<size_t>(column)] = true;
    if (is_writing_ || !is_encoded_[next_]) return -1;
    is_writing_ = true;
    return static_cast<int>(next_);
  }

  int Next() {
    const MutexLock lock(mutex_);
    is_writing_ = ++next_ < is_encoded_.size() && is_encoded_[next_];
    return is_writing_ ? static_cast<int>(next_) : -1;
  }

  Status Write(int column) try {
    group_->column(column)->Close();
    return Status::OK();
  } catch (const parquet::ParquetStatusException& error) {
    return error.status();
  }

  parquet::RowGroupWriter* const group_;
  Mutex mutex_;
  std::vector<bool> is_encoded_ GNOMON_GUARDED_BY(mutex_);
  size_t next_ GNOMON_GUARDED_BY(mutex_) = 0;  ///< the first that is not written
  bool is_writing_ GNOMON_GUARDED_BY(mutex_) = false;
};

/// One leaf a column, and no repetition.
class FlatSink : public RowGroupSink {
 public:
  FlatSink(const Context& context, std::unique_ptr<parquet::ParquetFileWriter> writer,
           std::shared_ptr<parquet::ArrowWriterProperties> properties)
      : context_(context), writer_(std::move(writer)), properties_(std::move(properties)) {}

  Status Write(const arrow::Table& rows, int64_t num_bytes) override {
    MemoryReservation encoded(context_.memory);
    const bool side_by_side =
        rows.num_columns() > 1 && NumThreads() > 1 && encoded.TryGrow(num_bytes);
    if (!side_by_side) {
      parquet::RowGroupWriter* const group = writer_->AppendRowGroup();
      for (int i = 0; i < rows.num_columns(); ++i) {
        parquet::ColumnWriter* const column = group->NextColumn();
        GNOMON_RETURN_NOT_OK(Encode(*rows.column(i), column));
        column->Close();
      }
      group->Close();
      return Status::OK();
    }
    return WriteSideBySide(rows);
  }

  Status Close() override {
    writer_->Close();
    return Status::OK();
  }

 private:
  Status WriteSideBySide(const arrow::Table& rows) {
    parquet::RowGroupWriter* const group = writer_->AppendBufferedRowGroup();
    OrderedColumns columns(group, rows.num_columns());
    std::atomic<int> next = 0;
    GNOMON_RETURN_NOT_OK(ParallelFor(context_, rows.num_columns(), [&](int64_t /*i*/) -> Status {
      const int column = next++;  // the first that nobody has taken
      GNOMON_RETURN_NOT_OK(Encode(*rows.column(column), group->column(column)));
      return columns.SetEncoded(column);
    }));
    group->Close();
    return Status::OK();
  }

  Status Encode(const arrow::ChunkedArray& column, parquet::ColumnWriter* writer) const try {
    parquet::ArrowWriteContext context(arrow::default_memory_pool(), properties_.get());
    const bool nullable = writer->descr()->max_definition_level() > 0;
    std::vector<int16_t> levels;
    GNOMON_ASSIGN_OR_RETURN(const arrow::ArrayVector chunks, WritableChunks(column));
    for (const auto& chunk : chunks) {
      for (int64_t begin = 0; begin < chunk->length(); begin += kPieceRows) {
        const auto piece = chunk->Slice(begin, std::min(kPieceRows, chunk->length() - begin));
        if (nullable) SetLevels(*piece, &levels);
        GNOMON_RETURN_NOT_OK(writer->WriteArrow(nullable ? levels.data() : nullptr, nullptr,
                                                piece->length(), *piece, &context, nullable));
      }
    }
    // The writer takes values of a type that it does not know for none.
    if (writer->rows_written() == column.length()) return Status::OK();
    return Error(ErrorKind::kUnsupported, "values of type ", column.type()->ToString(),
                 " cannot be written to Parquet: column ",
                 Quoted(writer->descr()->path()->ToDotString()));
  } catch (const parquet::ParquetStatusException& error) {
    return error.status();
  }

  const Context context_;
  std::unique_ptr<parquet::ParquetFileWriter> writer_;
  std::shared_ptr<parquet::ArrowWriterProperties> properties_;
};

/// What readers learn the Arrow types from, and the schema's own metadata.
Result<std::shared_ptr<const arrow::KeyValueMetadata>> FileMetadata(const arrow::Schema& schema) {
  auto metadata = schema.metadata() == nullptr ? std::make_shared<arrow::KeyValueMetadata>()
                                               : schema.metadata()->Copy();
  GNOMON_ASSIGN_OR_RETURN(const auto bytes, arrow::ipc::SerializeSchema(schema));
  metadata->Append("ARROW:schema", arrow::util::base64_encode(bytes->ToString()));
  return metadata;
}

bool IsFlat(const parquet::SchemaDescriptor& schema) {
  const parquet::schema::GroupNode& root = *schema.group_node();
  for (int i = 0; i < root.field_count(); ++i) {
    if (!root.field(i)->is_primitive() || root.field(i)->is_repeated()) return false;
  }
  return true;
}

}  // namespace

Result<std::unique_ptr<RowGroupSink>> RowGroupSink::Open(
    const Context& context, const Sink& sink, const std::shared_ptr<arrow::Schema>& schema,
    const std::shared_ptr<parquet::WriterProperties>& properties,
    const std::shared_ptr<parquet::ArrowWriterProperties>& arrow_properties) {
  std::shared_ptr<parquet::SchemaDescriptor> descriptor;
  GNOMON_RETURN_NOT_OK(
      parquet::arrow::ToParquetSchema(schema.get(), *properties, *arrow_properties, &descriptor));
  if (!IsFlat(*descriptor)) {
    GNOMON_ASSIGN_OR_RETURN(
        auto writer, parquet::arrow::FileWriter::Open(*schema, arrow::default_memory_pool(), sink,
                                                      properties, arrow_properties));
    return std::make_unique<NestedSink>(std::move(writer));
  }
  GNOMON_ASSIGN_OR_RETURN(auto metadata, FileMetadata(*schema));
  auto root = std::static_pointer_cast<parquet::schema::GroupNode>(descriptor->schema_root());
  return std::make_unique<FlatSink>(
      context,
      parquet::ParquetFileWriter::Open(sink, std::move(root), properties, std::move(metadata)),
      arrow_properties);
}

}  // namespace gnomon::table::internal
