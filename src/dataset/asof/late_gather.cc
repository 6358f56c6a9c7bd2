#include <arrow/array/util.h>
#include <arrow/chunked_array.h>
#include <arrow/type.h>

#include "base/parallel.h"
#include "dataset/asof/late_gather_internal.h"
#include "dataset/asof/winner_rows_internal.h"
#include "table/column.h"

namespace gnomon::dataset::internal {

namespace {

/// Guessed width of a text or list.
constexpr int64_t kVariableWidth = 64;

/// One read: some features of one partition.
struct Task {
  size_t side;
  size_t part;  ///< of the side's winners
  std::vector<size_t> features;
};

class Gatherer {
 public:
  Gatherer(const Context& context, const std::vector<BoundFeatures>& right)
      : context_(context), right_(right) {}

  Result<arrow::ArrayVector> Run(const std::vector<std::span<const int64_t>>& winners) {
    winners_.resize(right_.size());
    GNOMON_RETURN_NOT_OK(
        ParallelFor(context_, static_cast<int64_t>(right_.size()), [&](int64_t side) {
          const auto i = static_cast<size_t>(side);
          return SortWinners(context_, winners[i]).Value(&winners_[i]);
        }));
    Plan();
    GNOMON_RETURN_NOT_OK(
        ParallelFor(context_, static_cast<int64_t>(tasks_.size()),
                    [&](int64_t task) { return Read(tasks_[static_cast<size_t>(task)]); }));
    return Assemble();
  }

 private:
  /// A task for each partition and column where a table can be read like that.
  void Plan() {
    for (size_t side = 0; side < right_.size(); ++side) {
      const size_t num_features = right_[side].features.size();
      pieces_.emplace_back(num_features, arrow::ArrayVector(winners_[side].parts.size()));
      for (size_t part = 0; part < winners_[side].parts.size() && num_features > 0; ++part) {
        const bool apart =
            right_[side].table().reads_columns_apart(winners_[side].parts[part].partition);
        if (!apart) tasks_.push_back({side, part, {}});
        for (size_t feature = 0; feature < num_features; ++feature) {
          if (apart) tasks_.push_back({side, part, {}});
          tasks_.back().features.push_back(feature);
        }
      }
    }
  }

  Status Read(const Task& task) {
    const BoundFeatures& features = right_[task.side];
    const WinnerRows& winners = winners_[task.side];
    const WinnerRows::Part& part = winners.parts[task.part];
    std::vector<int> columns;
    for (const size_t feature : task.features) columns.push_back(features.features[feature]);
    GNOMON_ASSIGN_OR_RETURN(
        auto values,
        features.table().Gather(context_, part.partition, columns,
                                std::span(winners.rows).subspan(part.first, part.count)));
    for (size_t i = 0; i < values.size(); ++i)
      pieces_[task.side][task.features[i]][task.part] = std::move(values[i]);
    return Status::OK();
  }

  /// Puts the pieces of each column into label order.
  Result<arrow::ArrayVector> Assemble() {
    std::vector<std::pair<size_t, size_t>> columns;
    for (size_t side = 0; side < right_.size(); ++side) {
      for (size_t feature = 0; feature < right_[side].features.size(); ++feature)
        columns.emplace_back(side, feature);
    }
    arrow::ArrayVector gathered(columns.size());
    GNOMON_RETURN_NOT_OK(
        ParallelFor(context_, static_cast<int64_t>(columns.size()), [&](int64_t i) -> Status {
          const auto [side, feature] = columns[static_cast<size_t>(i)];
          const BoundFeatures& features = right_[side];
          const auto& type = features.table().schema()->field(features.features[feature])->type();
          arrow::ArrayVector& pieces = pieces_[side][feature];
          GNOMON_ASSIGN_OR_RETURN(
              gathered[static_cast<size_t>(i)],
              table::Gather(arrow::ChunkedArray(pieces, type), winners_[side].ranks));
          pieces.clear();
          return Status::OK();
        }));
    return gathered;
  }

  const Context& context_;
  const std::vector<BoundFeatures>& right_;
  std::vector<WinnerRows> winners_;  ///< of each side
  std::vector<Task> tasks_;
  std::vector<std::vector<arrow::ArrayVector>> pieces_;  ///< [side][feature][part]
};

}  // namespace

int64_t ValueBytes(const arrow::DataType& type) {
  const int width = type.byte_width();
  return width > 0 ? width : kVariableWidth;
}

int64_t RowBytes(const BoundFeatures& features) {
  // The pieces and the result, and the order of the winners.
  int64_t bytes = 48;
  for (const int column : features.features) {
    bytes += 2 * ValueBytes(*features.table().schema()->field(column)->type());
  }
  return bytes;
}

Result<arrow::ArrayVector> GatherLate(const Context& context,
                                      const std::vector<BoundFeatures>& right,
                                      const std::vector<std::span<const int64_t>>& winners) {
  return Gatherer(context, right).Run(winners);
}

}  // namespace gnomon::dataset::internal
