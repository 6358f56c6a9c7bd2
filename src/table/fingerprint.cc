#include "table/fingerprint.h"

#include <array>
#include <cstring>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/extension_type.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <arrow/util/checked_cast.h>
#include <arrow/util/ree_util.h>

#include "base/ids.h"
#include "base/sha256.h"
#include "table/column.h"

/// Each value is written in a canonical form that needs nothing of its neighbours (a byte for null
/// or not, then the value, lengths before variable ones), so that chunks and offsets leave no
/// trace. Blocks of kBlockRows rows of a column are hashed one by one, and the hashes with the
/// schema once more: memory stays bounded, and rows may come batch by batch.
namespace gnomon::table {

namespace {

using arrow::internal::checked_cast;

constexpr int64_t kBlockRows = int64_t{64} * 1024;
/// Of a block, that are put together before they are hashed.
constexpr size_t kFlushBytes = size_t{64} << 10;

void AppendNumber(uint64_t number, std::string* out) {
  std::array<char, sizeof(number)> bytes;
  std::memcpy(bytes.data(), &number, sizeof(number));
  out->append(bytes.data(), bytes.size());
}

Status AppendValue(const arrow::Array& array, int64_t row, std::string* out);

Status AppendChildren(const arrow::Array& child, int64_t begin, int64_t count, std::string* out) {
  AppendNumber(static_cast<uint64_t>(count), out);
  for (int64_t i = 0; i < count; ++i) GNOMON_RETURN_NOT_OK(AppendValue(child, begin + i, out));
  return Status::OK();
}

template <typename ArrayType>
Status AppendList(const arrow::Array& array, int64_t row, std::string* out) {
  const auto& list = checked_cast<const ArrayType&>(array);
  return AppendChildren(*list.values(), list.value_offset(row), list.value_length(row), out);
}

template <typename ArrayType>
Status AppendView(const arrow::Array& array, int64_t row, std::string* out) {
  const std::string_view view = checked_cast<const ArrayType&>(array).GetView(row);
  AppendNumber(view.size(), out);
  out->append(view);
  return Status::OK();
}

Status AppendUnion(const arrow::Array& array, int64_t row, std::string* out) {
  const auto& value = checked_cast<const arrow::UnionArray&>(array);
  const int child = value.child_id(row);
  out->push_back(static_cast<char>(value.type_code(row)));
  const bool dense = array.type_id() == arrow::Type::DENSE_UNION;
  const int64_t child_row =
      dense ? checked_cast<const arrow::DenseUnionArray&>(array).value_offset(row) : row;
  return AppendValue(*value.field(child), child_row, out);
}

Status AppendNested(const arrow::Array& array, int64_t row, std::string* out) {
  switch (array.type_id()) {
    case arrow::Type::LIST:
    case arrow::Type::MAP:
      return AppendList<arrow::ListArray>(array, row, out);
    case arrow::Type::LARGE_LIST:
      return AppendList<arrow::LargeListArray>(array, row, out);
    case arrow::Type::FIXED_SIZE_LIST:
      return AppendList<arrow::FixedSizeListArray>(array, row, out);
    case arrow::Type::LIST_VIEW:
      return AppendList<arrow::ListViewArray>(array, row, out);
    case arrow::Type::LARGE_LIST_VIEW:
      return AppendList<arrow::LargeListViewArray>(array, row, out);
    case arrow::Type::STRUCT:
      for (const auto& field : checked_cast<const arrow::StructArray&>(array).fields()) {
        GNOMON_RETURN_NOT_OK(AppendValue(*field, row, out));
      }
      return Status::OK();
    default:
      return Error(ErrorKind::kUnsupported, "cannot fingerprint a column of type ",
                   array.type()->ToString());
  }
}

Status AppendValue(const arrow::Array& array, int64_t row, std::string* out) {
  switch (array.type_id()) {
    case arrow::Type::DENSE_UNION:
    case arrow::Type::SPARSE_UNION:
      return AppendUnion(array, row, out);
    case arrow::Type::EXTENSION:
      return AppendValue(*checked_cast<const arrow::ExtensionArray&>(array).storage(), row, out);
    case arrow::Type::RUN_END_ENCODED: {
      const arrow::ArraySpan span(*array.data());
      const int64_t physical = arrow::ree_util::FindPhysicalIndex(span, row, span.offset);
      return AppendValue(*checked_cast<const arrow::RunEndEncodedArray&>(array).values(), physical,
                         out);
    }
    default:
      break;
  }
  if (array.IsNull(row)) {
    out->push_back(0);
    return Status::OK();
  }
  if (array.type_id() == arrow::Type::DICTIONARY) {
    const auto& encoded = checked_cast<const arrow::DictionaryArray&>(array);
    return AppendValue(*encoded.dictionary(), encoded.GetValueIndex(row), out);
  }
  out->push_back(1);
  switch (array.type_id()) {
    case arrow::Type::BOOL:
      out->push_back(checked_cast<const arrow::BooleanArray&>(array).Value(row) ? 1 : 0);
      return Status::OK();
    case arrow::Type::STRING:
    case arrow::Type::BINARY:
      return AppendView<arrow::BinaryArray>(array, row, out);
    case arrow::Type::LARGE_STRING:
    case arrow::Type::LARGE_BINARY:
      return AppendView<arrow::LargeBinaryArray>(array, row, out);
    case arrow::Type::STRING_VIEW:
    case arrow::Type::BINARY_VIEW:
      return AppendView<arrow::BinaryViewArray>(array, row, out);
    default:
      break;
  }
  if (!arrow::is_fixed_width(array.type_id()) || arrow::is_nested(array.type_id()))
    return AppendNested(array, row, out);
  const auto width = static_cast<size_t>(array.type()->byte_width());
  const auto* values = array.data()->buffers[1]->data_as<char>();
  out->append(values + static_cast<size_t>(array.offset() + row) * width, width);
  return Status::OK();
}

}  // namespace

/// The hashes of a column's blocks, one after another.
struct RunningFingerprint::Column {
  Sha256 block;
  int64_t block_rows = 0;
  std::string hashes;

  Status Add(const arrow::Array& array, std::string* scratch) {
    for (int64_t row = 0; row < array.length(); ++row) {
      GNOMON_RETURN_NOT_OK(AppendValue(array, row, scratch));
      if (++block_rows == kBlockRows) {
        Flush(scratch);
        EndBlock();
      } else if (scratch->size() >= kFlushBytes) {
        Flush(scratch);
      }
    }
    Flush(scratch);
    return Status::OK();
  }

  void Flush(std::string* scratch) {
    block.Add(*scratch);
    scratch->clear();
  }

  void EndBlock() {
    if (block_rows > 0) hashes.append(block.Finish());
    block_rows = 0;
  }
};

RunningFingerprint::RunningFingerprint(const arrow::Schema& schema)
    : columns_(static_cast<size_t>(schema.num_fields())) {
  for (const auto& field : schema.fields()) {
    schema_.append(field->name()).append(1, '\0').append(field->type()->ToString()).append(1, '\0');
  }
}

RunningFingerprint::RunningFingerprint(RunningFingerprint&&) noexcept = default;
RunningFingerprint& RunningFingerprint::operator=(RunningFingerprint&&) noexcept = default;
RunningFingerprint::~RunningFingerprint() = default;

Status RunningFingerprint::AddTo(int column, const arrow::Array& values) {
  std::string scratch;
  return columns_[static_cast<size_t>(column)].Add(values, &scratch);
}

Status RunningFingerprint::Add(const arrow::RecordBatch& batch) {
  for (int i = 0; i < batch.num_columns(); ++i) GNOMON_RETURN_NOT_OK(AddTo(i, *batch.column(i)));
  return Status::OK();
}

std::string RunningFingerprint::Finish(int64_t num_rows) {
  std::string hashes;
  AppendNumber(static_cast<uint64_t>(num_rows), &hashes);
  hashes.append(schema_);
  for (Column& column : columns_) {
    column.EndBlock();
    hashes.append(column.hashes);
  }
  return Sha256Hex(hashes);
}

Result<std::string> Fingerprint(const arrow::Table& table) {
  RunningFingerprint fingerprint(*table.schema());
  for (int i = 0; i < table.num_columns(); ++i) {
    for (const auto& chunk : table.column(i)->chunks())
      GNOMON_RETURN_NOT_OK(fingerprint.AddTo(i, *chunk));
  }
  return fingerprint.Finish(table.num_rows());
}

}  // namespace gnomon::table
