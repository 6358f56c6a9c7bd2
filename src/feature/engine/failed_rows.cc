#include "feature/engine/failed_rows.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>

#include "base/text.h"
#include "feature/engine/view_source.h"
#include "feature/online/entity_key.h"
#include "table/column.h"

namespace gnomon::feature {
namespace {

/// Rows that are tried together: each that is refused costs another try of the others.
constexpr size_t kRowsOfTry = 256;

/// The rows at `places`, which lives as long as they do.
struct TriedRows {
  std::vector<int64_t> event_times;
  std::vector<int64_t> created_times;
  OnlineRows rows;
};

Result<TriedRows> Take(const OnlineRows& rows, const std::vector<int64_t>& places) {
  TriedRows tried;
  for (const int64_t place : places) {
    const auto index = static_cast<size_t>(place);
    tried.rows.keys.push_back(rows.keys[index]);
    tried.event_times.push_back(rows.event_times[index]);
    tried.created_times.push_back(rows.created_times[index]);
  }
  arrow::ArrayVector columns;
  for (const auto& column : rows.values->columns()) {
    GNOMON_ASSIGN_OR_RETURN(auto taken, table::Gather(arrow::ChunkedArray(column), places));
    columns.push_back(std::move(taken));
  }
  tried.rows.event_times = tried.event_times;
  tried.rows.created_times = tried.created_times;
  tried.rows.values = arrow::RecordBatch::Make(
      rows.values->schema(), static_cast<int64_t>(places.size()), std::move(columns));
  tried.rows.as_of = rows.as_of;
  return tried;
}

Status TryRows(const Context& context, OnlineStore& online, const OnlineTable& table,
               const OnlineRows& rows) {
  GNOMON_ASSIGN_OR_RETURN(const auto writer, online.BeginWrite(context, table));
  return writer->Write(context, rows);
}

}  // namespace

void FailedRows::Add(const std::string& row, const Status& why) {
  if (count_ == 0) first_ = why;
  ++count_;
  if (examples_.size() == kExamples) return;
  std::string text = why.message();
  // Places in a batch say nothing to who reads this.
  const size_t place = text.rfind(" in row ");
  if (IsOfOneRow(why) && place != std::string::npos) text.resize(place);
  examples_.push_back(Concat(row, ": ", text));
}

void FailedRows::Merge(const FailedRows& other) {
  if (count_ == 0) first_ = other.first_;
  count_ += other.count_;
  for (const std::string& example : other.examples_) {
    if (examples_.size() < kExamples) examples_.push_back(example);
  }
}

FailedRows FailedRows::Of(int64_t count, std::vector<std::string> examples, Status first) {
  FailedRows failed;
  failed.count_ = count;
  failed.examples_ = std::move(examples);
  failed.first_ = std::move(first);
  return failed;
}

Status FailedRows::ToStatus() const {
  if (count_ == 0) return Status::OK();
  const auto more = count_ - static_cast<int64_t>(examples_.size());
  std::string text = Concat(full() ? "at least " : "", count_, count_ == 1 ? " row" : " rows",
                            " cannot be written: ", Join(examples_, "; "),
                            more > 0 ? Concat("; and ", more, " more") : std::string());
  return MakeError(KindOf(first_), std::move(text), {}, HintOf(first_));
}

bool IsOfOneRow(const Status& status) {
  if (status.ok() || LocationOf(status).row < 0) return false;
  return KindOf(status) == ErrorKind::kUser || KindOf(status) == ErrorKind::kExhausted;
}

Status FindUncastable(const FeatureView& view, const std::string& name,
                      const std::shared_ptr<arrow::Array>& column, const ValueType& type,
                      std::vector<Status>* why) {
  constexpr auto kRows = static_cast<int64_t>(kRowsOfTry);
  for (int64_t begin = 0; begin < column->length();) {
    const auto slice = column->Slice(begin, std::min(kRows, column->length() - begin));
    const Status status = CastSourceColumn(view, name, slice, type).status();
    if (status.ok()) {
      begin += slice->length();
      continue;
    }
    if (!IsOfOneRow(status)) return status;
    const int64_t row = begin + LocationOf(status).row;
    Status& known = why->at(static_cast<size_t>(row));
    if (known.ok()) known = status;
    begin = row + 1;
  }
  return Status::OK();
}

Status FindUnwritable(const Context& context, OnlineStore& online, const OnlineTable& table,
                      const OnlineRows& rows, FailedRows* failed) {
  for (size_t begin = 0; begin < rows.keys.size() && !failed->full(); begin += kRowsOfTry) {
    std::vector<int64_t> places(std::min(kRowsOfTry, rows.keys.size() - begin));
    std::iota(places.begin(), places.end(), static_cast<int64_t>(begin));
    while (!places.empty() && !failed->full()) {
      GNOMON_RETURN_NOT_OK(context.Check());
      GNOMON_ASSIGN_OR_RETURN(const TriedRows tried, Take(rows, places));
      const Status status = TryRows(context, online, table, tried.rows);
      if (status.ok()) break;
      const int64_t row = IsOfOneRow(status) ? LocationOf(status).row : -1;
      if (row < 0 || row >= static_cast<int64_t>(places.size())) return status;
      failed->Add(DescribeEntityKey(tried.rows.keys[static_cast<size_t>(row)]), status);
      places.erase(places.begin() + row);
    }
  }
  return Status::OK();
}

}  // namespace gnomon::feature
