#include <limits>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/compute/api_vector.h>
#include <arrow/compute/exec.h>
#include <arrow/type.h>
#include <arrow/util/bit_util.h>

#include "pit/window_output_internal.h"

namespace gnomon::pit {

namespace {

struct Validity {
  std::shared_ptr<arrow::Buffer> bitmap;  ///< null when everything is valid
  int64_t null_count = 0;
};

Result<Validity> MakeValidity(const Output& output) {
  const auto count = static_cast<int64_t>(output.valid.size());
  const int64_t null_count =
      output.nullable ? std::count(output.valid.begin(), output.valid.end(), 0) : 0;
  if (null_count == 0) return Validity{};
  GNOMON_ASSIGN_OR_RETURN(std::shared_ptr<arrow::Buffer> bitmap, arrow::AllocateEmptyBitmap(count));
  for (int64_t i = 0; i < count; ++i) {
    if (output.valid[static_cast<size_t>(i)] != 0)
      arrow::bit_util::SetBit(bitmap->mutable_data(), i);
  }
  return Validity{std::move(bitmap), null_count};
}

template <typename T>
Result<std::shared_ptr<arrow::Array>> MakeFixedWidth(const std::shared_ptr<arrow::DataType>& type,
                                                     std::vector<T> values, const Output& output) {
  GNOMON_ASSIGN_OR_RETURN(const Validity validity, MakeValidity(output));
  const auto count = static_cast<int64_t>(values.size());
  return arrow::MakeArray(arrow::ArrayData::Make(
      type, count, {validity.bitmap, arrow::Buffer::FromVector(std::move(values))},
      validity.null_count));
}

/// The values of the rows, null where `rows` is.
Result<std::shared_ptr<arrow::Array>> Gather(const arrow::Array& values, const arrow::Array& rows) {
  arrow::compute::ExecContext exec;
  exec.set_use_threads(false);
  return arrow::compute::Take(values, rows, arrow::compute::TakeOptions::NoBoundsCheck(), &exec);
}

/// Gather for values of one width, which a loop does in less than the time that finding and calling
/// Arrow's kernel takes: a read of one entity asks for one row.
template <typename T>
Result<std::shared_ptr<arrow::Array>> GatherFixedWidth(const arrow::Array& values,
                                                       const Output& output) {
  const T* const from = values.data()->GetValues<T>(1);
  std::vector<T> gathered(output.rows.size(), T{});
  for (size_t i = 0; i < gathered.size(); ++i) {
    if (output.valid[i] != 0) gathered[i] = from[output.rows[i]];
  }
  return MakeFixedWidth(values.type(), std::move(gathered), output);
}

/// The value of each label's row, which is none of the nulls.
Result<std::shared_ptr<arrow::Array>> CollectRows(const arrow::Array& values, Output output) {
  const bool plain = arrow::is_primitive(values.type_id()) && values.type_id() != arrow::Type::BOOL;
  switch (plain ? values.type()->byte_width() : 0) {
    case 1:
      return GatherFixedWidth<uint8_t>(values, output);
    case 2:
      return GatherFixedWidth<uint16_t>(values, output);
    case 4:
      return GatherFixedWidth<uint32_t>(values, output);
    case 8:
      return GatherFixedWidth<uint64_t>(values, output);
    default:
      break;
  }
  std::vector<uint32_t> rows = std::move(output.rows);
  GNOMON_ASSIGN_OR_RETURN(const std::shared_ptr<arrow::Array> indices,
                          MakeFixedWidth(arrow::uint32(), std::move(rows), output));
  return Gather(values, *indices);
}

Result<std::shared_ptr<arrow::Array>> CollectLists(const ValueColumn& column, Output output) {
  GNOMON_ASSIGN_OR_RETURN(const Validity validity, MakeValidity(output));
  std::vector<int32_t> offsets;
  offsets.reserve(output.starts.size());
  for (const int64_t start : output.starts) offsets.push_back(static_cast<int32_t>(start));
  const auto num_rows = static_cast<int64_t>(output.rows.size());
  const auto rows = arrow::MakeArray(arrow::ArrayData::Make(
      arrow::uint32(), num_rows, {nullptr, arrow::Buffer::FromVector(std::move(output.rows))}, 0));
  GNOMON_ASSIGN_OR_RETURN(const std::shared_ptr<arrow::Array> values,
                          Gather(*column.values(), *rows));
  return arrow::MakeArray(
      arrow::ArrayData::Make(arrow::list(values->type()), static_cast<int64_t>(output.valid.size()),
                             {validity.bitmap, arrow::Buffer::FromVector(std::move(offsets))},
                             {values->data()}, validity.null_count));
}

}  // namespace

Result<Output> MakeOutput(const AggregateSpec& spec, KeyKind kind, size_t num_labels,
                          MemoryReservation* memory) {
  Output output;
  output.kind = OutputKindOf(spec.function, kind);
  output.nullable = spec.function != AggregateFunction::kCount &&
                    spec.function != AggregateFunction::kCountDistinct;
  const bool is_wide = output.kind == OutputKind::kInteger || output.kind == OutputKind::kReal;
  GNOMON_RETURN_NOT_OK(memory->Grow(static_cast<int64_t>(num_labels * (is_wide ? 9 : 5))));
  output.valid.assign(num_labels, 0);
  switch (output.kind) {
    case OutputKind::kInteger:
      output.integers.assign(num_labels, 0);
      break;
    case OutputKind::kReal:
      output.reals.assign(num_labels, 0.0);
      break;
    case OutputKind::kRow:
      output.rows.assign(num_labels, 0);
      break;
    case OutputKind::kRowList:
      output.lengths.assign(num_labels, 0);
      break;
  }
  return output;
}

Status PlaceLists(Output* output, MemoryReservation* memory) {
  const size_t num_labels = output->lengths.size();
  GNOMON_RETURN_NOT_OK(memory->Grow(static_cast<int64_t>((num_labels + 1) * sizeof(int64_t))));
  output->starts.reserve(num_labels + 1);
  int64_t total = 0;
  for (const uint32_t length : output->lengths) {
    output->starts.push_back(total);
    total += length;
  }
  output->starts.push_back(total);
  if (total > std::numeric_limits<int32_t>::max()) {
    return WithHint(
        Error(ErrorKind::kUnsupported, "too many elements in the lists of last_k: ", total),
        "take fewer labels at a time, or a smaller k");
  }
  GNOMON_RETURN_NOT_OK(memory->Grow(total * int64_t{sizeof(uint32_t)}));
  output->rows.assign(static_cast<size_t>(total), 0);
  return Status::OK();
}

Result<std::shared_ptr<arrow::Array>> CollectOutput(const AggregateSpec& spec,
                                                    const ValueColumn& column, Output output) {
  switch (output.kind) {
    case OutputKind::kInteger: {
      std::vector<int64_t> values = std::move(output.integers);
      return MakeFixedWidth(arrow::int64(), std::move(values), output);
    }
    case OutputKind::kReal: {
      std::vector<double> values = std::move(output.reals);
      return MakeFixedWidth(arrow::float64(), std::move(values), output);
    }
    case OutputKind::kRowList:
      return CollectLists(column, std::move(output));
    case OutputKind::kRow:
      break;
  }
  GNOMON_ASSIGN_OR_RETURN(auto values, CollectRows(*column.values(), std::move(output)));
  const bool as_is =
      spec.function == AggregateFunction::kFirst || spec.function == AggregateFunction::kLast;
  return as_is ? values : ValueColumn(values).MakeCanonical();
}

}  // namespace gnomon::pit
