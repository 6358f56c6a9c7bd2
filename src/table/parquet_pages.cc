#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include <arrow/buffer.h>
#include <arrow/io/interfaces.h>
#include <parquet/exception.h>
#include <parquet/metadata.h>
#include <parquet/page_index.h>
#include <parquet/properties.h>
#include <parquet/schema.h>

#include "table/parquet_pages_internal.h"

namespace gnomon::table::internal {

namespace {

using arrow::io::RandomAccessFile;
using arrow::io::ReadRange;

/// Parts of a file one after the other. Reads no more than it is asked for, so that what is skipped
/// costs nothing.
class PartsInput : public arrow::io::InputStream {
 public:
  PartsInput(std::shared_ptr<RandomAccessFile> file, std::vector<ReadRange> parts)
      : file_(std::move(file)), parts_(std::move(parts)) {}

  Status Close() override { return Status::OK(); }
  bool closed() const override { return false; }
  Result<int64_t> Tell() const override { return position_; }

  /// Where in the file the bytes that were looked at last begin: a page's header.
  int64_t peeked() const { return peeked_; }
  /// The next Read gives nothing and passes over what it was asked for: how the page reader skips a
  /// page.
  void SkipNext() { skips_ = true; }

  Result<std::string_view> Peek(int64_t count) override {
    peeked_ = part_ < parts_.size() ? parts_[part_].offset + in_part_ : 0;
    const auto wanted = static_cast<size_t>(count);
    if (ahead_.size() - used_ < wanted) {
      ahead_.erase(0, used_);
      used_ = 0;
      const size_t had = ahead_.size();
      ahead_.resize(wanted);
      GNOMON_ASSIGN_OR_RETURN(
          const int64_t got,
          Copy(static_cast<int64_t>(had), count - static_cast<int64_t>(had), ahead_.data() + had));
      ahead_.resize(had + static_cast<size_t>(got));
    }
    return std::string_view(ahead_).substr(used_, wanted);
  }

  Result<int64_t> Read(int64_t count, void* out) override {
    const auto known = std::min<size_t>(static_cast<size_t>(count), ahead_.size() - used_);
    std::memcpy(out, ahead_.data() + used_, known);
    const auto had = static_cast<int64_t>(known);
    GNOMON_ASSIGN_OR_RETURN(const int64_t got,
                            Copy(had, count - had, static_cast<char*>(out) + known));
    Pass(had + got);
    return had + got;
  }

  Result<std::shared_ptr<arrow::Buffer>> Read(int64_t count) override {
    if (std::exchange(skips_, false)) {
      Pass(count);
      return std::make_shared<arrow::Buffer>(nullptr, 0);
    }
    GNOMON_ASSIGN_OR_RETURN(auto buffer, arrow::AllocateResizableBuffer(count));
    GNOMON_ASSIGN_OR_RETURN(const int64_t got, Read(count, buffer->mutable_data()));
    GNOMON_RETURN_NOT_OK(buffer->Resize(got, /*shrink_to_fit=*/false));
    return buffer;
  }

 private:
  /// Copies what stands `ahead` bytes further on; fewer bytes at the end.
  Result<int64_t> Copy(int64_t ahead, int64_t count, char* out) {
    int64_t copied = 0;
    int64_t skipped = in_part_ + ahead;
    for (size_t part = part_; part < parts_.size() && copied < count; ++part) {
      if (skipped >= parts_[part].length) {
        skipped -= parts_[part].length;
        continue;
      }
      const int64_t bytes = std::min(count - copied, parts_[part].length - skipped);
      GNOMON_ASSIGN_OR_RETURN(const int64_t got,
                              file_->ReadAt(parts_[part].offset + skipped, bytes, out + copied));
      copied += got;
      if (got < bytes) break;
      skipped = 0;
    }
    return copied;
  }

  void Pass(int64_t count) {
    position_ += count;
    used_ = std::min(ahead_.size(), used_ + static_cast<size_t>(count));
    in_part_ += count;
    while (part_ < parts_.size() && in_part_ >= parts_[part_].length)
      in_part_ -= parts_[part_++].length;
  }

  std::shared_ptr<RandomAccessFile> file_;
  std::vector<ReadRange> parts_;
  size_t part_ = 0;
  int64_t in_part_ = 0;
  int64_t position_ = 0;
  int64_t peeked_ = 0;
  std::string ahead_;  ///< read already: [used_, end) comes next
  size_t used_ = 0;
  bool skips_ = false;
};

std::unique_ptr<parquet::PageReader> OpenPages(const parquet::FileMetaData& metadata,
                                               const parquet::ColumnChunkMetaData& chunk, int leaf,
                                               std::shared_ptr<PartsInput> input, int64_t rows) {
  const bool always_compressed = metadata.writer_version().VersionLt(
      parquet::ApplicationVersion::PARQUET_CPP_10353_FIXED_VERSION());
  return parquet::PageReader::Open(std::move(input), rows, chunk.compression(),
                                   parquet::default_reader_properties(),
                                   *metadata.schema()->Column(leaf), always_compressed);
}

/// Do the pages follow each other inside the chunk and hold its rows?
bool AreWhole(const std::vector<DataPage>& pages, const ReadRange& chunk, int64_t num_rows) {
  int64_t offset = chunk.offset;
  int64_t row = 0;
  for (const DataPage& page : pages) {
    if (page.offset < offset || page.size <= 0 || page.rows.begin != row) return false;
    if (page.size > chunk.length || page.offset > chunk.offset + chunk.length - page.size)
      return false;
    if (page.rows.end <= row || page.rows.end > num_rows) return false;
    offset = page.offset + page.size;
    row = page.rows.end;
  }
  return row == num_rows;
}

/// Statistics of texts point into the encoded ones, which therefore live as long.
std::shared_ptr<parquet::Statistics> StatisticsOf(const parquet::ColumnDescriptor* descriptor,
                                                  parquet::EncodedStatistics encoded,
                                                  int64_t num_values) {
  struct Kept {
    parquet::EncodedStatistics encoded;
    std::shared_ptr<parquet::Statistics> statistics;
  };
  const auto kept = std::make_shared<Kept>(std::move(encoded), nullptr);
  kept->statistics = parquet::Statistics::Make(descriptor, &kept->encoded, num_values);
  return {kept, kept->statistics.get()};
}

/// The page index; none when the file lacks what is needed of it.
std::vector<DataPage> FromIndex(parquet::ParquetFileReader* reader, int group, int leaf,
                                const parquet::ColumnDescriptor* descriptor, bool statistics,
                                int64_t num_rows) {
  const auto index = reader->GetPageIndexReader();
  const auto of_group = index == nullptr ? nullptr : index->RowGroup(group);
  const auto places = of_group == nullptr ? nullptr : of_group->GetOffsetIndex(leaf);
  if (places == nullptr) return {};
  std::vector<DataPage> pages;
  for (const parquet::PageLocation& page : places->page_locations()) {
    if (!pages.empty()) pages.back().rows.end = page.first_row_index;
    pages.push_back({.offset = page.offset,
                     .size = page.compressed_page_size,
                     .rows = {page.first_row_index, num_rows}});
  }
  if (!statistics) return pages;
  const auto values = of_group->GetColumnIndex(leaf);
  if (values == nullptr || values->null_pages().size() != pages.size()) return {};
  const std::vector<std::string>& least = values->encoded_min_values();
  const std::vector<std::string>& greatest = values->encoded_max_values();
  if (least.size() != pages.size() || greatest.size() != pages.size()) return {};
  for (size_t i = 0; i < pages.size(); ++i) {
    pages[i].all_null = values->null_pages()[i];
    if (pages[i].all_null) continue;
    parquet::EncodedStatistics encoded;
    encoded.set_min(least[i]).set_max(greatest[i]);
    pages[i].statistics =
        StatisticsOf(descriptor, std::move(encoded), pages[i].rows.end - pages[i].rows.begin);
  }
  return pages;
}

/// The same from the headers of the pages.
std::vector<DataPage> FromHeaders(const parquet::FileMetaData& metadata,
                                  const parquet::ColumnChunkMetaData& chunk, int leaf,
                                  const std::shared_ptr<RandomAccessFile>& file,
                                  const ReadRange& range, bool statistics) {
  const int64_t first = chunk.data_page_offset();
  if (first < range.offset || first >= range.offset + range.length) return {};
  const auto input = std::make_shared<PartsInput>(
      file, std::vector<ReadRange>{{first, range.offset + range.length - first}});
  const auto reader = OpenPages(metadata, chunk, leaf, input, chunk.num_values());
  const parquet::ColumnDescriptor* const descriptor = metadata.schema()->Column(leaf);
  std::vector<DataPage> pages;
  int64_t row = 0;
  reader->set_data_page_filter([&](const parquet::DataPageStats& page) {
    if (!pages.empty()) pages.back().size = input->peeked() - pages.back().offset;
    DataPage next = {.offset = input->peeked(), .size = 0, .rows = {row, row + page.num_values}};
    const parquet::EncodedStatistics* const encoded = page.encoded_statistics;
    if (statistics && encoded != nullptr && encoded->has_min && encoded->has_max &&
        metadata.writer_version().HasCorrectStatistics(descriptor->physical_type(), *encoded,
                                                       descriptor->sort_order()))
      next.statistics = StatisticsOf(descriptor, *encoded, page.num_values);
    row = next.rows.end;
    pages.push_back(std::move(next));
    input->SkipNext();
    return true;
  });
  while (reader->NextPage() != nullptr) continue;
  if (!pages.empty()) pages.back().size = first + *input->Tell() - pages.back().offset;
  return pages;
}

}  // namespace

RowRanges Intersect(const RowRanges& left, const RowRanges& right) {
  RowRanges both;
  for (size_t i = 0, j = 0; i < left.size() && j < right.size();) {
    const int64_t begin = std::max(left[i].begin, right[j].begin);
    const int64_t end = std::min(left[i].end, right[j].end);
    if (begin < end) both.push_back({begin, end});
    left[i].end < right[j].end ? ++i : ++j;
  }
  return both;
}

int64_t CountRows(const RowRanges& ranges) {
  int64_t rows = 0;
  for (const RowRange& range : ranges) rows += range.end - range.begin;
  return rows;
}

std::vector<DataPage> ColumnPages::Holding(const RowRanges& rows) const {
  std::vector<DataPage> holding;
  auto range = rows.begin();
  for (const DataPage& page : pages) {
    while (range != rows.end() && range->end <= page.rows.begin) ++range;
    if (range == rows.end()) break;
    if (range->begin < page.rows.end) holding.push_back(page);
  }
  return holding;
}

std::optional<ColumnPages> PagesOf(parquet::ParquetFileReader* reader,
                                   const std::shared_ptr<RandomAccessFile>& file, int group,
                                   int leaf, bool statistics) {
  const auto metadata = reader->metadata();
  const parquet::ColumnDescriptor* const descriptor = metadata->schema()->Column(leaf);
  if (descriptor->max_repetition_level() != 0 || descriptor->max_definition_level() > 1)
    return std::nullopt;
  const auto row_group = metadata->RowGroup(group);
  const auto chunk = row_group->ColumnChunk(leaf);
  if (chunk->num_values() != row_group->num_rows() || chunk->crypto_metadata() != nullptr)
    return std::nullopt;
  // Says, too, that the order of the column's type is known and its writer can be trusted.
  if (statistics && (!chunk->is_stats_set() || !chunk->statistics()->HasMinMax()))
    return std::nullopt;
  const auto ranges = reader->GetReadRanges({group}, {leaf});
  if (!ranges.ok() || ranges->size() != 1) return std::nullopt;
  const ReadRange range = ranges->front();
  ColumnPages column{.begin = range.offset, .pages = {}};
  column.pages = FromIndex(reader, group, leaf, descriptor, statistics, row_group->num_rows());
  if (column.pages.empty())
    column.pages = FromHeaders(*metadata, *chunk, leaf, file, range, statistics);
  if (!AreWhole(column.pages, range, row_group->num_rows())) return std::nullopt;
  return column;
}

std::unique_ptr<parquet::PageReader> ReadPages(const parquet::ParquetFileReader& reader,
                                               const std::shared_ptr<RandomAccessFile>& file,
                                               int group, int leaf, const ColumnPages& column,
                                               const std::vector<DataPage>& pages) {
  const auto metadata = reader.metadata();
  std::vector<ReadRange> parts;
  if (column.pages[0].offset > column.begin)
    parts.push_back({column.begin, column.pages[0].offset - column.begin});
  int64_t rows = 0;
  for (const DataPage& page : pages) {
    rows += page.rows.end - page.rows.begin;
    parts.push_back({page.offset, page.size});
  }
  return OpenPages(*metadata, *metadata->RowGroup(group)->ColumnChunk(leaf), leaf,
                   std::make_shared<PartsInput>(file, std::move(parts)), rows);
}

}  // namespace gnomon::table::internal
