#include <arrow/array.h>

#include "feature/online/folded_rows_internal.h"

namespace gnomon::feature::internal {
namespace {

std::shared_ptr<arrow::ListArray> AsLists(const std::shared_ptr<arrow::Array>& column) {
  return std::static_pointer_cast<arrow::ListArray>(column);
}

}  // namespace

FoldedRows::FoldedRows(const std::shared_ptr<arrow::Array>& folded,
                       const std::shared_ptr<arrow::Array>& names,
                       const std::shared_ptr<arrow::Array>& partials)
    : folded_(AsLists(folded)), names_(AsLists(names)), partials_(AsLists(partials)) {}

Result<std::optional<Folded>> FoldedRows::At(int64_t row, int64_t num_events) const {
  if (folded_->IsNull(row)) return std::nullopt;
  const auto& numbers = static_cast<const arrow::Int64Array&>(*folded_->values());
  const int64_t begin = folded_->value_offset(row);
  if (folded_->value_length(row) != 4 || names_->IsNull(row) || partials_->IsNull(row) ||
      names_->value_length(row) != partials_->value_length(row)) {
    return Error(ErrorKind::kDataLoss, "what a window row says of its folded events is damaged");
  }
  const Folded folded{.kept = numbers.Value(begin),
                      .oldest = numbers.Value(begin + 1),
                      .newest = numbers.Value(begin + 2),
                      .newest_created = numbers.Value(begin + 3)};
  if (folded.kept < 0 || folded.kept > num_events || folded.oldest > folded.newest) {
    return Error(ErrorKind::kDataLoss, "a window row has ", num_events, " events, but keeps ",
                 folded.kept, " folded ones");
  }
  return folded;
}

std::optional<std::string_view> FoldedRows::Find(int64_t row, std::string_view name) const {
  const auto& names = static_cast<const arrow::StringArray&>(*names_->values());
  const auto& partials = static_cast<const arrow::BinaryArray&>(*partials_->values());
  for (int32_t i = 0; i < names_->value_length(row); ++i) {
    if (names.GetView(names_->value_offset(row) + i) == name)
      return partials.GetView(partials_->value_offset(row) + i);
  }
  return std::nullopt;
}

}  // namespace gnomon::feature::internal
