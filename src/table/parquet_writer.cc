#include <algorithm>
#include <cmath>
#include <exception>
#include <new>
#include <vector>

#include <arrow/array.h>
#include <arrow/io/interfaces.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <arrow/util/byte_size.h>
#include <arrow/util/checked_cast.h>
#include <parquet/arrow/schema.h>
#include <parquet/properties.h>
#include <parquet/schema.h>

#include "base/ids.h"
#include "table/file_internal.h"
#include "table/parquet_row_groups_internal.h"

namespace gnomon::table::internal {

namespace {

using arrow::internal::checked_cast;

/// Rows of the first row group that are looked at, in blocks (so that runs of sorted values are
/// seen), and the fewest from which something follows.
constexpr int64_t kSampleRows = 8192;
constexpr int64_t kSampleBlocks = 64;
constexpr int64_t kLeastSampleRows = 1024;

/// A row group ends early when the batches that wait for it hold as much.
constexpr int64_t kMaxPendingBytes = int64_t{256} << 20;

/// How many different values a column has, from `distinct` different ones among `sampled` random
/// rows: the D with distinct = D (1 - exp(-sampled / D)); infinite when all were different.
double EstimateDistinct(double sampled, double distinct) {
  if (distinct >= sampled) return std::numeric_limits<double>::infinity();
  double low = distinct;
  double high = sampled * sampled;
  for (int step = 0; step < 60; ++step) {
    const double middle = (low + high) / 2;
    (middle * -std::expm1(-sampled / middle) < distinct ? low : high) = middle;
  }
  return high;
}

/// Different ones among at most kSampleRows hashes.
double CountDistinct(const std::vector<uint64_t>& hashes) {
  constexpr size_t kSlots = 2 * size_t{kSampleRows};
  std::vector<uint64_t> slots(kSlots);  // 0: empty
  double distinct = 0;
  for (const uint64_t hash : hashes) {
    const uint64_t value = hash | 1;
    size_t place = (hash >> 32) % kSlots;
    while (slots[place] != 0 && slots[place] != value) place = (place + 1) % kSlots;
    if (slots[place] == 0) ++distinct;
    slots[place] = value;
  }
  return distinct;
}

/// Visits the bytes of the values in [begin, begin + count) that a dictionary would hold once;
/// false for types that it does not suit or that are nested.
template <typename Visit>
bool VisitValues(const arrow::Array& array, int64_t begin, int64_t count, Visit&& visit) {
  const auto for_each = [&](auto&& bytes_of) {
    for (int64_t row = begin; row < begin + count; ++row) {
      if (array.IsValid(row)) visit(bytes_of(row));
    }
    return true;
  };
  if (arrow::is_binary_like(array.type_id())) {
    return for_each(
        [&](int64_t row) { return checked_cast<const arrow::BinaryArray&>(array).GetView(row); });
  }
  if (arrow::is_large_binary_like(array.type_id())) {
    return for_each([&](int64_t row) {
      return checked_cast<const arrow::LargeBinaryArray&>(array).GetView(row);
    });
  }
  const bool plain = arrow::is_primitive(array.type_id()) && array.type_id() != arrow::Type::BOOL;
  if (!plain || array.data()->buffers[1] == nullptr) return false;
  const auto width = static_cast<size_t>(array.type()->byte_width());
  const auto* values =
      array.data()->buffers[1]->data_as<char>() + static_cast<size_t>(array.offset()) * width;
  return for_each([&](int64_t row) {
    return std::string_view(values + static_cast<size_t>(row) * width, width);
  });
}

/// The same for a sample of the rows, which does not depend on how they are cut into chunks.
template <typename Visit>
bool VisitSample(const arrow::ChunkedArray& column, Visit&& visit) {
  const bool whole = column.length() <= kSampleRows;
  const int64_t blocks = whole ? 1 : kSampleBlocks;
  const int64_t block_rows = whole ? column.length() : kSampleRows / kSampleBlocks;
  int64_t chunk_begin = 0;
  int64_t block = 0;
  int64_t seen = 0;  // of the block
  for (const auto& chunk : column.chunks()) {
    const int64_t chunk_end = chunk_begin + chunk->length();
    while (block < blocks) {
      const int64_t row = column.length() / blocks * block + seen;
      const int64_t count = std::min(block_rows - seen, chunk_end - row);
      if (count <= 0) break;
      if (!VisitValues(*chunk, row - chunk_begin, count, visit)) return false;
      seen += count;
      if (seen < block_rows) break;
      seen = 0;
      ++block;
    }
    chunk_begin = chunk_end;
  }
  return true;
}

/// Would a dictionary make a row group of the column smaller, and fit the page that the format
/// allows it?
bool DictionaryShrinks(const arrow::ChunkedArray& column, int64_t row_group_rows) {
  double sampled = 0;
  double bytes = 0;
  std::vector<uint64_t> hashes;
  const int64_t head = arrow::is_fixed_width(column.type()->id()) ? 0 : 4;
  const bool suits = VisitSample(column, [&](std::string_view value) {
    sampled += 1;
    bytes += static_cast<double>(static_cast<int64_t>(value.size()) + head);
    hashes.push_back(HashBytes(value));
  });
  if (!suits || sampled < kLeastSampleRows) return true;
  const double all = EstimateDistinct(sampled, CountDistinct(hashes));
  if (std::isinf(all)) return false;
  const double rows = static_cast<double>(row_group_rows);
  const double distinct = all * -std::expm1(-rows / all);
  const double width = bytes / sampled;
  const double dictionary_bytes = distinct * width;
  if (dictionary_bytes > static_cast<double>(parquet::DEFAULT_DICTIONARY_PAGE_SIZE_LIMIT))
    return false;
  const double index_bytes = rows * std::ceil(std::log2(std::max(2.0, distinct))) / 8;
  return dictionary_bytes + index_bytes < rows * width;
}

Result<parquet::Compression::type> ParseCompression(const std::string& name) {
  if (name == "snappy") return parquet::Compression::SNAPPY;
  if (name == "zstd") return parquet::Compression::ZSTD;
  if (name == "lz4") return parquet::Compression::LZ4;
  if (name == "gzip") return parquet::Compression::GZIP;
  if (name == "none") return parquet::Compression::UNCOMPRESSED;
  return Error(ErrorKind::kUser,
               "unknown compression (snappy, zstd, lz4, gzip, none): ", Quoted(name));
}

/// Parquet's writer reports a full disk by exceptions too.
template <typename Body>
Status Guarded(Body&& body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return Error(ErrorKind::kExhausted, "out of memory while writing Parquet");
  } catch (const parquet::ParquetStatusException& error) {
    return error.status();
  } catch (const std::exception& error) {
    return Status::IOError(error.what());
  }
}

/// Collects the batches of a row group and writes it whole. Opens the file at the first row group,
/// which decides the encodings.
class ParquetWriter : public FormatWriter {
 public:
  ParquetWriter(const Context& context, Sink sink, std::shared_ptr<arrow::Schema> schema,
                const WriteOptions& options, parquet::Compression::type compression)
      : context_(context),
        sink_(std::move(sink)),
        schema_(std::move(schema)),
        options_(options),
        compression_(compression) {}

  /// Can the schema be written?
  Status CheckSchema() const {
    return Guarded([&] {
      std::shared_ptr<parquet::SchemaDescriptor> parquet_schema;
      return parquet::arrow::ToParquetSchema(schema_.get(), *parquet::default_writer_properties(),
                                             *ArrowProperties(), &parquet_schema);
    });
  }

  Status Write(const arrow::RecordBatch& batch) override {
    for (int64_t row = 0; row < batch.num_rows();) {
      auto piece = batch.Slice(row, options_.row_group_rows - pending_rows_);
      row += piece->num_rows();
      pending_rows_ += piece->num_rows();
      GNOMON_ASSIGN_OR_RETURN(const int64_t bytes, arrow::util::ReferencedBufferSize(*piece));
      pending_bytes_ += bytes;
      pending_.push_back(std::move(piece));
      const bool full =
          pending_rows_ == options_.row_group_rows || pending_bytes_ >= kMaxPendingBytes;
      if (full) GNOMON_RETURN_NOT_OK(WriteRowGroup());
    }
    return Status::OK();
  }

  Status Finish() override {
    if (pending_rows_ > 0) GNOMON_RETURN_NOT_OK(WriteRowGroup());
    return Guarded([&]() -> Status {
      if (writer_ == nullptr) GNOMON_RETURN_NOT_OK(OpenFile(nullptr));
      return writer_->Close();
    });
  }

 private:
  static std::shared_ptr<parquet::ArrowWriterProperties> ArrowProperties() {
    return parquet::ArrowWriterProperties::Builder()
        .store_schema()
        ->set_use_threads(false)
        ->build();
  }

  Status WriteRowGroup() {
    return Guarded([&]() -> Status {
      GNOMON_ASSIGN_OR_RETURN(const auto table, arrow::Table::FromRecordBatches(schema_, pending_));
      if (writer_ == nullptr) GNOMON_RETURN_NOT_OK(OpenFile(table.get()));
      pending_.clear();
      GNOMON_RETURN_NOT_OK(writer_->Write(*table, pending_bytes_));
      pending_rows_ = 0;
      pending_bytes_ = 0;
      return Status::OK();
    });
  }

  Status OpenFile(const arrow::Table* first) {
    parquet::WriterProperties::Builder properties;
    properties.compression(compression_)->max_row_group_length(options_.row_group_rows);
    for (int i = 0; first != nullptr && options_.choose_encodings && i < schema_->num_fields();
         ++i) {
      if (DictionaryShrinks(*first->column(i), options_.row_group_rows)) continue;
      properties.disable_dictionary(
          parquet::schema::ColumnPath({schema_->field(i)->name()}).ToDotString());
    }
    GNOMON_ASSIGN_OR_RETURN(writer_, RowGroupSink::Open(context_, sink_, schema_,
                                                        properties.build(), ArrowProperties()));
    return Status::OK();
  }

  const Context context_;
  Sink sink_;
  std::shared_ptr<arrow::Schema> schema_;
  WriteOptions options_;
  parquet::Compression::type compression_;
  arrow::RecordBatchVector pending_;
  int64_t pending_rows_ = 0;
  int64_t pending_bytes_ = 0;
  std::unique_ptr<RowGroupSink> writer_;
};

}  // namespace

Result<std::unique_ptr<FormatWriter>> MakeParquetWriter(
    const Context& context, const Sink& sink, const std::shared_ptr<arrow::Schema>& schema,
    const WriteOptions& options) {
  GNOMON_ASSIGN_OR_RETURN(const auto compression, ParseCompression(options.compression));
  auto writer = std::make_unique<ParquetWriter>(context, sink, schema, options, compression);
  GNOMON_RETURN_NOT_OK(writer->CheckSchema());
  return writer;
}

}  // namespace gnomon::table::internal
