#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <string_view>

#include <arrow/array/concatenate.h>
#include <arrow/array/util.h>
#include <arrow/buffer.h>
#include <arrow/io/interfaces.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/dictionary.h>
#include <arrow/ipc/reader.h>
#include <arrow/scalar.h>
#include <arrow/type.h>
#include <arrow/util/base64.h>
#include <arrow/util/checked_cast.h>
#include <arrow/util/key_value_metadata.h>
#include <parquet/arrow/schema.h>
#include <parquet/file_reader.h>
#include <parquet/statistics.h>

#include "table/column.h"
#include "table/parquet_reader_internal.h"

namespace gnomon::table::internal {

namespace {

using arrow::internal::checked_cast;

constexpr std::string_view kMagic = "PAR1";
constexpr std::string_view kEncryptedMagic = "PARE";
/// Magic, a footer's length and magic again.
constexpr int64_t kSmallestFile = 12;
/// Holds page headers and small pages; larger pages are read past it.
constexpr int64_t kBufferBytes = int64_t{64} * 1024;

Status CheckMagic(arrow::io::RandomAccessFile* file, const std::string& path) {
  GNOMON_ASSIGN_OR_RETURN(const int64_t size, file->GetSize());
  std::array<char, 4> bytes = {};
  if (IsObjectPath(path) && size >= kSmallestFile) {
    // The beginning would cost a request of its own; the end comes with the footer.
    GNOMON_RETURN_NOT_OK(file->ReadAt(size - 4, 4, bytes.data()).status());
    if (std::string_view(bytes.data(), bytes.size()) == kMagic) return Status::OK();
  }
  GNOMON_RETURN_NOT_OK(file->ReadAt(0, 4, bytes.data()).status());
  const std::string_view magic(bytes.data(), bytes.size());
  if (magic == kEncryptedMagic)
    return Error(ErrorKind::kUnsupported, "encrypted Parquet file: ", path);
  if (magic != kMagic) return Error(ErrorKind::kUser, "not a Parquet file: ", path);
  if (size >= kSmallestFile) GNOMON_RETURN_NOT_OK(file->ReadAt(size - 4, 4, bytes.data()).status());
  if (size < kSmallestFile || magic != kMagic)
    return Error(ErrorKind::kDataLoss, "truncated Parquet file: ", path);
  return Status::OK();
}

void AddLeaves(const parquet::arrow::SchemaField& field, std::vector<int>* leaves) {
  if (field.is_leaf()) leaves->push_back(field.column_index);
  for (const auto& child : field.children) AddLeaves(child, leaves);
}

/// Compressed. What a damaged file says may be anything, but counts at least one byte.
int64_t BytesOf(const parquet::FileMetaData& metadata, int group) {
  constexpr int64_t kMostBytes = int64_t{1} << 40;
  return std::clamp<int64_t>(metadata.RowGroup(group)->total_compressed_size(), 1, kMostBytes);
}

int64_t ScalarTime(const arrow::Scalar& scalar) {
  if (scalar.type->id() == arrow::Type::DATE32)
    return checked_cast<const arrow::Date32Scalar&>(scalar).value;
  if (scalar.type->id() == arrow::Type::DATE64)
    return checked_cast<const arrow::Date64Scalar&>(scalar).value;
  return checked_cast<const arrow::TimestampScalar&>(scalar).value;
}

bool IsNaN(const arrow::Scalar& scalar) {
  if (scalar.type->id() == arrow::Type::FLOAT)
    return std::isnan(checked_cast<const arrow::FloatScalar&>(scalar).value);
  if (scalar.type->id() == arrow::Type::DOUBLE)
    return std::isnan(checked_cast<const arrow::DoubleScalar&>(scalar).value);
  return false;
}

/// The Arrow schema that Arrow's writers store; null when there is none.
std::shared_ptr<arrow::Schema> StoredSchema(const parquet::FileMetaData& metadata) {
  if (metadata.key_value_metadata() == nullptr) return nullptr;
  const auto text = metadata.key_value_metadata()->Get("ARROW:schema");
  if (!text.ok()) return nullptr;
  const auto bytes = arrow::util::base64_decode(*text);
  if (!bytes.ok()) return nullptr;
  arrow::io::BufferReader stream(arrow::Buffer::FromString(*bytes));
  arrow::ipc::DictionaryMemo dictionaries;
  return arrow::ipc::ReadSchema(&stream, &dictionaries).ValueOr(nullptr);
}

/// Times of 96 bits hold days and nanoseconds of years that 64 bits of nanoseconds do not. They are
/// read as microseconds, which is what Spark and Hive write, unless the file says nanoseconds.
arrow::TimeUnit::type UnitOf96Bits(const parquet::FileMetaData& metadata) {
  const parquet::SchemaDescriptor& schema = *metadata.schema();
  bool has_96_bits = false;
  for (int leaf = 0; leaf < schema.num_columns() && !has_96_bits; ++leaf)
    has_96_bits = schema.Column(leaf)->physical_type() == parquet::Type::INT96;
  const auto stored = has_96_bits ? StoredSchema(metadata) : nullptr;
  if (stored == nullptr) return arrow::TimeUnit::MICRO;
  const bool has_nanos = std::ranges::any_of(stored->fields(), [](const auto& field) {
    return field->type()->id() == arrow::Type::TIMESTAMP &&
           checked_cast<const arrow::TimestampType&>(*field->type()).unit() ==
               arrow::TimeUnit::NANO;
  });
  return has_nanos ? arrow::TimeUnit::NANO : arrow::TimeUnit::MICRO;
}

/// Null when they do not say the least and the greatest value.
std::shared_ptr<parquet::Statistics> StatisticsOf(const parquet::RowGroupMetaData& group,
                                                  int leaf) {
  const auto chunk = group.ColumnChunk(leaf);
  auto statistics = chunk->is_stats_set() ? chunk->statistics() : nullptr;
  return statistics != nullptr && statistics->HasMinMax() ? statistics : nullptr;
}

/// A column's times and a range's ends in the column's unit.
struct TimeBounds {
  int64_t min;
  int64_t max;
  int64_t first;
  int64_t last;
};

std::optional<TimeBounds> TimesOf(const parquet::Statistics& statistics, const TimeRange& range) {
  std::shared_ptr<arrow::Scalar> min;
  std::shared_ptr<arrow::Scalar> max;
  if (!parquet::arrow::StatisticsAsScalars(statistics, &min, &max).ok()) return std::nullopt;
  if (!IsTime(*min->type) || !min->is_valid || !max->is_valid) return std::nullopt;
  // One microsecond of slack above, for nanoseconds that are floored later.
  const int64_t above =
      range.max == std::numeric_limits<int64_t>::max() ? range.max : range.max + 1;
  return TimeBounds{.min = ScalarTime(*min),
                    .max = ScalarTime(*max),
                    .first = MicrosToUnitCeil(range.min, *min->type),
                    .last = MicrosToUnitFloor(above, *min->type)};
}

}  // namespace

Result<OpenedParquet> OpenParquet(const std::string& path,
                                  const std::shared_ptr<parquet::FileMetaData>& metadata) {
  GNOMON_ASSIGN_OR_RETURN(auto file, OpenInput(path));
  if (metadata == nullptr) GNOMON_RETURN_NOT_OK(CheckMagic(file.get(), path));
  parquet::ArrowReaderProperties properties;
  properties.set_use_threads(false);
  // Pre-buffering changes the reader, which several threads share here.
  properties.set_pre_buffer(false);
  parquet::ReaderProperties reader_properties;
  if (!IsObjectPath(path)) {
    // Page by page instead of whole column chunks: less memory, and the same memory again and
    // again.
    reader_properties.enable_buffered_stream();
    reader_properties.set_buffer_size(kBufferBytes);
  }
  parquet::arrow::FileReaderBuilder builder;
  GNOMON_RETURN_NOT_OK(builder.Open(file, reader_properties, metadata));
  properties.set_coerce_int96_timestamp_unit(UnitOf96Bits(*builder.raw_reader()->metadata()));
  builder.properties(properties);
  GNOMON_ASSIGN_OR_RETURN(auto reader, builder.Build());
  return OpenedParquet{.reader = std::move(reader),
                       .file = file,
                       .object = std::dynamic_pointer_cast<ObjectFile>(file)};
}

Status AnnounceChunks(const OpenedParquet& opened, const std::vector<int>& groups,
                      const std::vector<int>& columns) {
  if (opened.object == nullptr) return Status::OK();
  std::vector<int> leaves;
  for (const int column : columns) {
    const std::vector<int> more = LeavesOf(*opened.reader, column);
    leaves.insert(leaves.end(), more.begin(), more.end());
  }
  std::vector<ObjectFile::Part> parts;
  for (const int group : groups) {
    GNOMON_ASSIGN_OR_RETURN(auto requests,
                            opened.reader->parquet_reader()->GetReadRanges({group}, leaves));
    parts.push_back(
        {.requests = std::move(requests), .reads = static_cast<int64_t>(leaves.size())});
  }
  opened.object->Announce(std::move(parts));
  return Status::OK();
}

std::vector<int> LeavesOf(const ParquetReader& reader, int column) {
  std::vector<int> leaves;
  AddLeaves(reader.manifest().schema_fields[static_cast<size_t>(column)], &leaves);
  return leaves;
}

bool LiesOutside(const parquet::Statistics& statistics, const TimeRange& range) {
  const auto times = TimesOf(statistics, range);
  return times && (times->max < times->first || times->min > times->last);
}

bool LiesOutside(const parquet::RowGroupMetaData& group, int leaf, const TimeRange& range) {
  const auto statistics = StatisticsOf(group, leaf);
  return statistics != nullptr && LiesOutside(*statistics, range);
}

bool LiesInside(const parquet::RowGroupMetaData& group, int leaf, const TimeRange& range) {
  const auto statistics = StatisticsOf(group, leaf);
  const auto times = statistics == nullptr ? std::nullopt : TimesOf(*statistics, range);
  return times && times->min >= times->first && times->max <= times->last;
}

Result<bool> IsRefused(const parquet::Statistics& statistics, const RowGroupProbe& probe) {
  std::shared_ptr<arrow::Scalar> min;
  std::shared_ptr<arrow::Scalar> max;
  if (!parquet::arrow::StatisticsAsScalars(statistics, &min, &max).ok()) return false;
  if (!min->is_valid || !max->is_valid || !min->type->Equals(*max->type)) return false;
  if (IsNaN(*min) || IsNaN(*max)) return false;  // of the other values they say nothing
  GNOMON_ASSIGN_OR_RETURN(auto least, arrow::MakeArrayFromScalar(*min, 1));
  GNOMON_ASSIGN_OR_RETURN(auto greatest, arrow::MakeArrayFromScalar(*max, 1));
  GNOMON_ASSIGN_OR_RETURN(const auto ends, arrow::Concatenate({least, greatest}));
  GNOMON_ASSIGN_OR_RETURN(const bool may_match, probe.may_match(ends));
  return !may_match;
}

Result<bool> IsRefused(const ParquetReader& reader, const parquet::RowGroupMetaData& group,
                       const ScanRequest& request) {
  for (const auto& [column, probe] : request.probes) {
    const std::vector<int> leaves = LeavesOf(reader, column);
    const auto statistics = leaves.size() == 1 ? StatisticsOf(group, leaves[0]) : nullptr;
    if (statistics == nullptr) continue;
    GNOMON_ASSIGN_OR_RETURN(const bool refused, IsRefused(*statistics, probe));
    if (refused) return true;
  }
  return false;
}

std::pair<int, int> RowGroupsOf(const parquet::FileMetaData& metadata, const FilePart& part) {
  const int num_groups = metadata.num_row_groups();
  if (part.count <= 1) return {0, num_groups};
  int64_t total = 0;
  for (int group = 0; group < num_groups; ++group) total += BytesOf(metadata, group);
  const int64_t share = std::max<int64_t>(1, (total + part.count - 1) / part.count);
  int64_t begin = 0;
  std::pair<int, int> groups = {num_groups, num_groups};
  for (int group = 0; group < num_groups; ++group) {
    const int64_t bytes = BytesOf(metadata, group);
    const int64_t of = (begin + bytes / 2) / share;
    begin += bytes;
    if (of >= part.index) groups.first = std::min(groups.first, group);
    if (of > part.index) return {groups.first, group};
  }
  return groups;
}

std::shared_ptr<arrow::Schema> WrittenSchema(const arrow::Schema& file,
                                             const parquet::FileMetaData& metadata) {
  arrow::FieldVector fields = file.fields();
  const auto stored = StoredSchema(metadata);
  if (stored == nullptr || stored->num_fields() != file.num_fields()) return arrow::schema(fields);
  for (size_t i = 0; i < fields.size(); ++i) {
    const auto& written = stored->field(static_cast<int>(i));
    const bool is_time = IsTime(*fields[i]->type()) && IsTime(*written->type());
    if (is_time && written->name() == fields[i]->name()) {
      fields[i] = fields[i]->WithType(written->type());
    }
  }
  return arrow::schema(fields);
}

Status TooFewRows(const std::string& path, const std::string& column) {
  return Error(ErrorKind::kDataLoss, path,
               ": column has other rows than its row group says: ", column);
}

}  // namespace gnomon::table::internal
