#include <algorithm>
#include <limits>

#include <arrow/table.h>
#include <arrow/type.h>
#include <arrow/type_traits.h>
#include <arrow/util/byte_size.h>

#include "dataset/distributed/source_parts_internal.h"

namespace gnomon::dataset::internal {

namespace {

constexpr int64_t kUnknown = std::numeric_limits<int64_t>::max();

// Bytes of a value, about.
double WidthOf(const arrow::DataType& type) {
  constexpr double kOther = 16;  // texts, lists
  const int bits = arrow::is_fixed_width(type.id()) ? type.bit_width() : 0;
  return bits > 0 ? bits / 8.0 : kOther;
}

// The share of a file's bytes that lies in the columns which are read, by the widths of the types.
double ShareRead(const Plan& scan, const ScanSpec& spec) {
  const double all = RowWidth(*spec.file_schema);
  const double read = RowWidth(*scan->schema());
  return all > 0 ? std::min(1.0, read / all) : 1.0;
}

// More tasks than this only cost.
constexpr int64_t kMostPartitions = 4096;

int64_t Sum(int64_t left, int64_t right) {
  int64_t sum = 0;
  return __builtin_add_overflow(left, right, &sum) ? kUnknown : sum;
}

// What a file counts when they are divided: one of unknown or no size counts a little.
int64_t WeightOf(const ScanFile& file) { return std::max<int64_t>(1, file.size / file.num_parts); }

// Files larger than a share become parts of about that size.
std::vector<ScanFile> PiecesOf(const std::vector<ScanFile>& files, int64_t share,
                               int64_t min_part_bytes) {
  std::vector<ScanFile> pieces;
  for (const ScanFile& file : files) {
    const int64_t bytes = WeightOf(file);
    const bool can_be_cut = file.format == table::FileFormat::kParquet && file.num_parts == 1;
    const int64_t wanted = can_be_cut ? (bytes + share - 1) / share : 1;
    const int64_t most =
        std::clamp<int64_t>(bytes / std::max<int64_t>(1, min_part_bytes), 1, kMostPartitions);
    const int64_t count = std::min(wanted, most);
    for (int64_t i = 0; i < count; ++i) {
      ScanFile& piece = pieces.emplace_back(file);
      if (count == 1) continue;
      piece.part = static_cast<int32_t>(i);
      piece.num_parts = static_cast<int32_t>(count);
    }
  }
  return pieces;
}

Result<std::vector<Plan>> PartsOfScan(const Plan& source, const ScanSpec& spec,
                                      const SourceCut& cut) {
  if (spec.limit.has_value()) return std::vector<Plan>{source};
  int64_t left = 0;
  for (const ScanFile& file : spec.files) left = Sum(left, WeightOf(file));
  const int num_parts = PartitionsFor(left, cut);
  const std::vector<ScanFile> pieces =
      PiecesOf(spec.files, (left + num_parts - 1) / num_parts, cut.min_part_bytes);
  if (pieces.size() < 2) return std::vector<Plan>{source};
  std::vector<Plan> parts;
  auto next = pieces.begin();
  while (next != pieces.end()) {
    const int64_t parts_left = std::max<int64_t>(1, num_parts - static_cast<int64_t>(parts.size()));
    const int64_t share = (left + parts_left - 1) / parts_left;
    ScanSpec part = spec;
    part.files.clear();
    int64_t taken = 0;
    while (next != pieces.end() && (taken == 0 || taken + WeightOf(*next) <= share)) {
      taken += WeightOf(*next);
      part.files.push_back(*next++);
    }
    left -= taken;
    GNOMON_ASSIGN_OR_RETURN(parts.emplace_back(), MakeNode(std::move(part)));
  }
  return parts;
}

// Bounds of part `i` of `rows` rows.
struct Bounds {
  int64_t begin;
  int64_t end;
};
Bounds BoundsOf(int64_t rows, int64_t num_parts, int64_t i) {
  const int64_t size = rows / num_parts;
  const int64_t longer = rows % num_parts;
  const auto begin_of = [&](int64_t part) { return part * size + std::min(part, longer); };
  return {begin_of(i), begin_of(i + 1)};
}

Result<std::vector<Plan>> PartsOfRange(const Plan& source, const RangeSpec& spec, int num_parts) {
  const uint64_t length = spec.end <= spec.begin
                              ? 0
                              : static_cast<uint64_t>(spec.end) - static_cast<uint64_t>(spec.begin);
  const auto rows = static_cast<int64_t>(length / static_cast<uint64_t>(spec.step) +
                                         (length % static_cast<uint64_t>(spec.step) != 0 ? 1 : 0));
  const int64_t count = std::min<int64_t>(num_parts, rows);
  if (count < 2) return std::vector<Plan>{source};
  std::vector<Plan> parts;
  for (int64_t i = 0; i < count; ++i) {
    const Bounds bounds = BoundsOf(rows, count, i);
    RangeSpec part = spec;
    part.begin = spec.begin + bounds.begin * spec.step;
    if (i + 1 < count) part.end = spec.begin + bounds.end * spec.step;
    GNOMON_ASSIGN_OR_RETURN(parts.emplace_back(), MakeNode(part));
  }
  return parts;
}

Result<std::vector<Plan>> PartsOfTable(const Plan& source, const TableSpec& spec, int num_parts) {
  const int64_t rows = spec.table->num_rows();
  const int64_t count = std::min<int64_t>(num_parts, rows);
  if (count < 2) return std::vector<Plan>{source};
  std::vector<Plan> parts;
  for (int64_t i = 0; i < count; ++i) {
    const Bounds bounds = BoundsOf(rows, count, i);
    GNOMON_ASSIGN_OR_RETURN(
        parts.emplace_back(),
        MakeNode(TableSpec{spec.table->Slice(bounds.begin, bounds.end - bounds.begin)}));
  }
  return parts;
}

// Its parts were cut by who knows the system: one a task.
Result<std::vector<Plan>> PartsOfExternal(const Plan& source, const ExternalSpec& spec) {
  if (spec.parts.size() < 2) return std::vector<Plan>{source};
  std::vector<Plan> parts;
  for (const std::string& bytes : spec.parts) {
    ExternalSpec part = spec;
    part.parts = {bytes};
    if (spec.bytes > 0) part.bytes = spec.bytes / static_cast<int64_t>(spec.parts.size());
    GNOMON_ASSIGN_OR_RETURN(parts.emplace_back(), MakeNode(std::move(part)));
  }
  return parts;
}

}  // namespace

double RowWidth(const arrow::Schema& schema) {
  double width = 0;
  for (const auto& field : schema.fields()) width += WidthOf(*field->type());
  return width;
}

int PartitionsFor(int64_t bytes, const SourceCut& cut) {
  const int64_t by_size =
      cut.partition_bytes > 0 && bytes < kUnknown ? bytes / cut.partition_bytes : 0;
  return static_cast<int>(std::max<int64_t>(cut.num_parts, std::min(by_size, kMostPartitions)));
}

Result<std::vector<Plan>> PartsOfSource(const Plan& source, const SourceCut& cut) {
  if (const auto* scan = std::get_if<ScanSpec>(&source->spec())) {
    return PartsOfScan(source, *scan, cut);
  }
  if (const auto* external = std::get_if<ExternalSpec>(&source->spec()))
    return PartsOfExternal(source, *external);
  const int num_parts = PartitionsFor(SourceBytes(source), cut);
  if (const auto* range = std::get_if<RangeSpec>(&source->spec())) {
    return PartsOfRange(source, *range, num_parts);
  }
  const auto* table = std::get_if<TableSpec>(&source->spec());
  GNOMON_CHECK(table != nullptr, "a source: ", source->name());
  return PartsOfTable(source, *table, num_parts);
}

int64_t SourceBytes(const Plan& plan) {
  int64_t bytes = 0;
  if (const auto* scan = std::get_if<ScanSpec>(&plan->spec())) {
    for (const ScanFile& file : scan->files) {
      bytes = Sum(bytes, file.size < 0 ? kUnknown : file.size / file.num_parts);
    }
    if (bytes < kUnknown)
      bytes = static_cast<int64_t>(static_cast<double>(bytes) * ShareRead(plan, *scan));
  } else if (const auto* external = std::get_if<ExternalSpec>(&plan->spec())) {
    bytes = external->bytes < 0 ? kUnknown : external->bytes;
  } else if (const auto* table = std::get_if<TableSpec>(&plan->spec())) {
    bytes = arrow::util::TotalBufferSize(*table->table);
  } else if (const auto* range = std::get_if<RangeSpec>(&plan->spec())) {
    if (range->end > range->begin) {
      bytes = static_cast<int64_t>(std::min<uint64_t>(
          (static_cast<uint64_t>(range->end) - static_cast<uint64_t>(range->begin)) /
                  static_cast<uint64_t>(range->step) / 2 * 16 +
              16,
          static_cast<uint64_t>(kUnknown)));
    }
  }
  for (const Plan& input : plan->inputs()) bytes = Sum(bytes, SourceBytes(input));
  return bytes;
}

}  // namespace gnomon::dataset::internal
