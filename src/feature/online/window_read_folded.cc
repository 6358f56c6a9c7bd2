#include <algorithm>
#include <limits>
#include <map>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/type.h>

#include "base/text.h"
#include "base/time.h"
#include "feature/online/folded_rows_internal.h"
#include "feature/online/window_read_internal.h"

namespace gnomon::feature::internal {

/// The columns that partial states decide, of rows with folded events and without; and checks that
/// the columns that the stored events decide may be read.
class WindowReader::FoldedValues {
 public:
  FoldedValues(const WindowReader& reader, const FoldedRows& rows, const pit::Events& events,
               const arrow::ListArray& times)
      : reader_(reader), rows_(rows), events_(events), times_(times) {}

  Status Begin() {
    for (size_t i = 0; i < reader_.specs_.size(); ++i) {
      builders_.emplace_back();
      if (!reader_.parts_[i] || pit::KeepsRows(reader_.parts_[i]->kind)) continue;
      const pit::AggregateSpec& spec = reader_.specs_[i];
      const auto& column = *events_.columns[static_cast<size_t>(spec.column)];
      GNOMON_ASSIGN_OR_RETURN(const auto type, pit::ResultType(spec, *column.type()));
      GNOMON_ASSIGN_OR_RETURN(builders_[i], arrow::MakeBuilder(type));
    }
    return Status::OK();
  }

  Status AddRow(int64_t row, const std::optional<Folded>& folded, int64_t as_of, Values* values) {
    if (folded) GNOMON_RETURN_NOT_OK(reader_.CheckTime(*folded, as_of));
    const bool visible = folded && as_of >= folded->newest;
    if (visible) {
      const auto at = static_cast<size_t>(row);
      int64_t& newest = values->event_times[at];
      newest = values->found[at] ? std::max(newest, folded->newest) : folded->newest;
      values->found[at] = true;
    }
    States states;
    for (size_t i = 0; i < reader_.specs_.size(); ++i) {
      if (!reader_.parts_[i]) continue;
      std::optional<std::string_view> stored;
      if (visible) {
        stored = rows_.Find(row, reader_.parts_[i]->name);
        if (!stored) return NotStored(*reader_.parts_[i]);
      }
      if (builders_[i] == nullptr) continue;
      GNOMON_RETURN_NOT_OK(AddValue(i, stored, row, folded ? folded->kept : 0, as_of, &states));
    }
    return Status::OK();
  }

  Status Finish(Values* values) {
    for (size_t i = 0; i < builders_.size(); ++i) {
      if (builders_[i] == nullptr) continue;
      GNOMON_ASSIGN_OR_RETURN(values->columns[i], builders_[i]->Finish());
    }
    return Status::OK();
  }

 private:
  using States = std::map<std::string_view, std::unique_ptr<pit::PartialState>>;

  Status NotStored(const FoldedPart& part) const {
    return WithHint(
        Error(ErrorKind::kConflict, "feature view ", Quoted(reader_.view_),
              " has changed since it was materialized: nothing is stored for ", Quoted(part.name)),
        Concat("run: gnomon materialize --views ", reader_.view_));
  }

  Status AddValue(size_t i, const std::optional<std::string_view>& stored, int64_t row,
                  int64_t kept, int64_t as_of, States* states) {
    constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();
    const FoldedPart& part = *reader_.parts_[i];
    auto& state = (*states)[part.name];
    if (state == nullptr) {
      const auto& values = events_.columns[static_cast<size_t>(reader_.specs_[i].column)];
      auto made = stored ? pit::PartialState::Decode(part.kind, *values->type(), kNoLimit, *stored)
                         : pit::PartialState::Make(part.kind, *values->type(), kNoLimit);
      GNOMON_ASSIGN_OR_RETURN(state, std::move(made));
      GNOMON_RETURN_NOT_OK(state->Add(values, RawEvents(row, kept, as_of)));
    }
    return state->AppendValue(reader_.specs_[i], builders_[i].get());
  }

  /// The events of a row that are in no state, up to a time.
  std::vector<uint32_t> RawEvents(int64_t row, int64_t kept, int64_t as_of) const {
    std::vector<uint32_t> events;
    const int64_t end = int64_t{times_.value_offset(row)} + times_.value_length(row);
    for (int64_t event = times_.value_offset(row) + kept; event < end; ++event) {
      if (events_.times[static_cast<size_t>(event)] > as_of) break;
      events.push_back(static_cast<uint32_t>(event));
    }
    return events;
  }

  const WindowReader& reader_;
  const FoldedRows& rows_;
  const pit::Events& events_;
  const arrow::ListArray& times_;
  std::vector<std::unique_ptr<arrow::ArrayBuilder>> builders_;  ///< by aggregate
};

/// Folded events are all inside a window, or all outside, or the read cannot be exact.
Status WindowReader::CheckTime(const Folded& folded, int64_t as_of) const {
  if (as_of < folded.oldest) return Status::OK();
  for (const pit::AggregateSpec& spec : specs_) {
    int64_t end = as_of;
    if (spec.window && __builtin_sub_overflow(as_of, *spec.window, &end))
      end = std::numeric_limits<int64_t>::min();
    if (end >= folded.newest) continue;
    const int64_t exact = folded.newest + spec.window.value_or(0);
    return WithHint(
        Error(ErrorKind::kUser, "feature view ", Quoted(view_), " cannot be read as of ",
              FormatTimestamp(as_of),
              ": older events are folded, it is exact from this time on: ", FormatTimestamp(exact)),
        "read the past from the offline store, or give the lifetime aggregations a "
        "slide_interval "
        "that reaches as far back");
  }
  return Status::OK();
}

Status WindowReader::AddFolded(const OnlineValues& stored, const pit::Events& events, int64_t as_of,
                               Values* values) const {
  const size_t first = num_columns_ + 1;
  const FoldedRows rows(stored.columns[first], stored.columns[first + 1],
                        stored.columns[first + 2]);
  const auto& times = static_cast<const arrow::ListArray&>(*stored.columns[0]);
  FoldedValues folded_values(*this, rows, events, times);
  GNOMON_RETURN_NOT_OK(folded_values.Begin());
  for (int64_t row = 0; row < times.length(); ++row) {
    const int64_t num_events = times.IsNull(row) ? 0 : times.value_length(row);
    auto folded = rows.At(row, num_events);
    Status status = folded.status();
    if (status.ok()) status = folded_values.AddRow(row, *folded, as_of, values);
    if (!status.ok() && KindOf(status) == ErrorKind::kDataLoss)
      status = WithContext(status, Concat("feature view ", Quoted(view_)));
    GNOMON_RETURN_NOT_OK(status);
  }
  return folded_values.Finish(values);
}

}  // namespace gnomon::feature::internal
