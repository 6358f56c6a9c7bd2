#include <algorithm>
#include <limits>

#include <arrow/array.h>
#include <arrow/array/concatenate.h>
#include <arrow/array/util.h>
#include <arrow/buffer.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/ids.h"
#include "base/parallel.h"
#include "base/text.h"
#include "dataset/operators/hash_join_internal.h"
#include "table/column.h"

namespace gnomon::dataset::internal {

namespace {

constexpr int64_t kNotBegun = -2;
constexpr int64_t kNoRow = -1;
constexpr int64_t kAfterAll = std::numeric_limits<int64_t>::max();

std::shared_ptr<arrow::Array> Int64Array(std::vector<int64_t> values) {
  const auto length = static_cast<int64_t>(values.size());
  return std::make_shared<arrow::Int64Array>(length, arrow::Buffer::FromVector(std::move(values)));
}

}  // namespace

JoinProbe::JoinProbe(const JoinPlan& plan, BatchSource* left, const JoinTable* table, bool is_last,
                     std::vector<bool>* matched)
    : plan_(plan),
      left_(left),
      table_(table),
      is_last_(is_last),
      matched_(matched),
      reservation_(plan.environment.context.memory) {
  if (plan_.spec.type == JoinType::kFull)
    right_matched_.resize(static_cast<size_t>(table->num_rows()), false);
}

Status JoinProbe::FillWindow() {
  window_.clear();
  reservation_.Clear();
  at_ = 0;
  const auto most = static_cast<size_t>(NumThreads());
  while (!left_ended_ && window_.size() < most) {
    GNOMON_ASSIGN_OR_RETURN(auto batch, left_->Next());
    left_ended_ = batch == nullptr;
    if (left_ended_) break;
    GNOMON_ASSIGN_OR_RETURN(const int64_t bytes, BatchBytes(*batch));
    window_.push_back({std::move(batch), {}});
    if (!reservation_.TryGrow(2 * bytes)) break;
  }
  return ParallelFor(
      plan_.environment.context, static_cast<int64_t>(window_.size()), [&](int64_t i) -> Status {
        LeftBatch& left = window_[static_cast<size_t>(i)];
        GNOMON_ASSIGN_OR_RETURN(const auto keys, KeyEncoder(plan_.left_keys).Encode(*left.batch));
        left.first_rows.resize(static_cast<size_t>(left.batch->num_rows()));
        for (int64_t row = 0; row < left.batch->num_rows(); ++row) {
          left.first_rows[static_cast<size_t>(row)] =
              keys.HasNull(row) ? kNoRow
                                : table_->FirstRow(keys[row], HashBytes(keys[row], kJoinSeed));
        }
        return Status::OK();
      });
}

bool JoinProbe::MatchedBefore(int64_t left_row) const {
  return matched_ != nullptr && (*matched_)[static_cast<size_t>(left_rows_ + left_row)];
}

/// Pairs of the present left batch, until there are enough or its rows end.
void JoinProbe::Pick(Picks* picks) {
  const LeftBatch& left = window_[at_];
  const JoinType type = plan_.spec.type;
  const auto most = static_cast<size_t>(plan_.environment.options.batch_rows);
  for (; row_ < left.batch->num_rows() && picks->left.size() < most; ++row_) {
    if (right_row_ == kNotBegun) {
      const int64_t first = left.first_rows[static_cast<size_t>(row_)];
      const bool before = MatchedBefore(row_);
      if (first != kNoRow && matched_ != nullptr)
        (*matched_)[static_cast<size_t>(left_rows_ + row_)] = true;
      const bool matched = before || first != kNoRow;
      const bool alone = type == JoinType::kSemi ? first != kNoRow && !before
                                                 : type != JoinType::kInner && is_last_ && !matched;
      if (alone) {
        picks->left.push_back(row_);
        picks->right.push_back(kNoRow);
      }
      if (type == JoinType::kSemi || type == JoinType::kAnti) continue;
      right_row_ = first;
    }
    while (right_row_ != kNoRow && picks->left.size() < most) {
      picks->left.push_back(row_);
      picks->right.push_back(right_row_);
      if (!right_matched_.empty()) right_matched_[static_cast<size_t>(right_row_)] = true;
      right_row_ = table_->NextRow(right_row_);
    }
    if (right_row_ != kNoRow) return;
    right_row_ = kNotBegun;
  }
}

Result<std::shared_ptr<arrow::Array>> JoinProbe::GatherRight(
    int column, const std::vector<int64_t>& rows) const {
  arrow::ArrayVector chunks;
  for (const BatchPtr& batch : table_->batches()) chunks.push_back(batch->column(column));
  return table::Gather(arrow::ChunkedArray(std::move(chunks), plan_.right->field(column)->type()),
                       rows);
}

/// In the type of the output: a full join's keys may be wider than the left's.
Result<std::shared_ptr<arrow::Array>> JoinProbe::KeyOfRight(
    int left_column, const std::vector<int64_t>& rows) const {
  const auto key = std::ranges::find(plan_.left_keys, left_column);
  const auto& type = plan_.output->field(left_column)->type();
  if (key == plan_.left_keys.end())
    return arrow::MakeArrayOfNull(type, static_cast<int64_t>(rows.size()));
  const auto place = static_cast<size_t>(key - plan_.left_keys.begin());
  GNOMON_ASSIGN_OR_RETURN(const auto values, GatherRight(plan_.right_keys[place], rows));
  return table::CastLossless(values, type);
}

Result<BatchPtr> JoinProbe::Output(const LeftBatch& left, const Picks& picks) const {
  const size_t num_left = static_cast<size_t>(plan_.num_left_columns);
  arrow::ArrayVector columns(num_left + plan_.right_output.size());
  GNOMON_RETURN_NOT_OK(ParallelFor(
      plan_.environment.context, static_cast<int64_t>(columns.size()), [&](int64_t i) -> Status {
        const auto place = static_cast<size_t>(i);
        if (place >= num_left) {
          GNOMON_ASSIGN_OR_RETURN(columns[place],
                                  GatherRight(plan_.right_output[place - num_left], picks.right));
          return Status::OK();
        }
        const arrow::ChunkedArray column(left.batch->column(static_cast<int>(i)));
        GNOMON_ASSIGN_OR_RETURN(const auto values, table::Gather(column, picks.left));
        auto cast = table::CastLossless(values, plan_.output->field(static_cast<int>(i))->type());
        GNOMON_RETURN_NOT_OK(WithContext(
            cast.status(), Concat("join key ", plan_.output->field(static_cast<int>(i))->name())));
        columns[place] = *std::move(cast);
        return Status::OK();
      }));
  if (plan_.positions) {
    const auto positions = Int64Column(*left.batch, plan_.left->num_fields() - 1);
    std::vector<int64_t> left_positions;
    std::vector<int64_t> right_positions;
    for (size_t i = 0; i < picks.left.size(); ++i) {
      left_positions.push_back(positions[static_cast<size_t>(picks.left[i])]);
      right_positions.push_back(picks.right[i] == kNoRow ? kNoRow
                                                         : table_->PositionOf(picks.right[i]));
    }
    columns.push_back(Int64Array(std::move(left_positions)));
    columns.push_back(Int64Array(std::move(right_positions)));
  }
  return arrow::RecordBatch::Make(plan_.output, static_cast<int64_t>(picks.left.size()),
                                  std::move(columns));
}

Result<BatchPtr> JoinProbe::OutputUnmatchedRight() {
  std::vector<int64_t> rows;
  const auto most = static_cast<size_t>(plan_.environment.options.batch_rows);
  for (; right_unmatched_at_ < table_->num_rows() && rows.size() < most; ++right_unmatched_at_) {
    if (!right_matched_[static_cast<size_t>(right_unmatched_at_)])
      rows.push_back(right_unmatched_at_);
  }
  if (rows.empty()) return nullptr;
  arrow::ArrayVector columns;
  for (int i = 0; i < plan_.num_left_columns; ++i) {
    auto column = KeyOfRight(i, rows);
    GNOMON_RETURN_NOT_OK(
        WithContext(column.status(), Concat("join key ", plan_.output->field(i)->name())));
    columns.push_back(*std::move(column));
  }
  for (const int right : plan_.right_output) {
    GNOMON_ASSIGN_OR_RETURN(auto column, GatherRight(right, rows));
    columns.push_back(std::move(column));
  }
  if (plan_.positions) {
    std::vector<int64_t> positions;
    for (const int64_t row : rows) positions.push_back(table_->PositionOf(row));
    columns.push_back(Int64Array(std::vector<int64_t>(rows.size(), kAfterAll)));
    columns.push_back(Int64Array(std::move(positions)));
  }
  return arrow::RecordBatch::Make(plan_.output, static_cast<int64_t>(rows.size()),
                                  std::move(columns));
}

Result<BatchPtr> JoinProbe::Next() {
  while (true) {
    GNOMON_RETURN_NOT_OK(plan_.environment.context.Check());
    if (at_ == window_.size()) GNOMON_RETURN_NOT_OK(FillWindow());
    if (window_.empty()) break;
    Picks picks;
    Pick(&picks);
    const LeftBatch& left = window_[at_];
    auto output = picks.left.empty() ? Result<BatchPtr>(BatchPtr()) : Output(left, picks);
    if (row_ == left.batch->num_rows()) {
      left_rows_ += row_;
      row_ = 0;
      ++at_;
    }
    if (!output.ok() || *output != nullptr) return output;
  }
  if (plan_.spec.type == JoinType::kFull) return OutputUnmatchedRight();
  return nullptr;
}

}  // namespace gnomon::dataset::internal
