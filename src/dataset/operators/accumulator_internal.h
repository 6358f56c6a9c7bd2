#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <arrow/type_fwd.h>

#include "dataset/operators/operator_internal.h"

/// The states of one aggregate for all groups in memory.
namespace gnomon::dataset::internal {

/// Rows of a batch and the group of each, rows ascending.
struct GroupedRows {
  std::span<const int64_t> rows;
  std::span<const int32_t> groups;
};

class Accumulator {
 public:
  virtual ~Accumulator() = default;
  /// Bytes that a group takes, about.
  virtual int64_t BytesPerGroup() const = 0;
  virtual void Resize(int64_t num_groups) = 0;
  /// `values`: the item's column of the batch, null for a count of rows. Rows come in input order,
  /// also from call to call.
  virtual Status Add(const std::shared_ptr<arrow::Array>& values, const GroupedRows& rows) = 0;
  /// One value a group.
  virtual Result<std::shared_ptr<arrow::Array>> Finish() = 0;
};

/// `input` is the type of the item's column, null for a count of rows.
Result<std::unique_ptr<Accumulator>> MakeAccumulator(const Environment& environment,
                                                     const AggregateItem& item,
                                                     const std::shared_ptr<arrow::DataType>& input,
                                                     OperatorStats* stats);

/// median, quantile, most_frequent, last_k and aggregates of plug-ins.
Result<std::unique_ptr<Accumulator>> MakeGatheredAccumulator(
    const Environment& environment, const AggregateItem& item,
    const std::shared_ptr<arrow::DataType>& input, OperatorStats* stats);

/// Its parts in value_accumulator.cc.
std::unique_ptr<Accumulator> MakeEndAccumulator(const std::shared_ptr<arrow::DataType>& type,
                                                bool last);
std::unique_ptr<Accumulator> MakeExtremeAccumulator(const std::shared_ptr<arrow::DataType>& type,
                                                    bool greatest);

/// A state for each group, in pages that stay where they are: what is held is what the groups take
/// and at most a page more.
template <typename State>
class GroupStates {
 public:
  int64_t size() const { return size_; }
  /// New states are State(). Never shrinks.
  void Resize(int64_t num_groups) {
    size_ = num_groups;
    while (static_cast<int64_t>(pages_.size()) * kPage < num_groups)
      pages_.push_back(std::make_unique<State[]>(static_cast<size_t>(kPage)));
  }
  State& operator[](int64_t group) { return Page(group)[Place(group)]; }
  const State& operator[](int64_t group) const { return Page(group)[Place(group)]; }

 private:
  static constexpr int64_t kPage = 256;
  State* Page(int64_t group) const { return pages_[static_cast<size_t>(group / kPage)].get(); }
  static size_t Place(int64_t group) { return static_cast<size_t>(group % kPage); }

  std::vector<std::unique_ptr<State[]>> pages_;
  int64_t size_ = 0;
};

/// The values of one row for each group, taken when they were seen. Any type. Values that were
/// replaced are let go now and then.
class PickedValues {
 public:
  explicit PickedValues(std::shared_ptr<arrow::DataType> type) : type_(std::move(type)) {}

  void Resize(int64_t num_groups) { places_.resize(static_cast<size_t>(num_groups), -1); }
  bool Has(int32_t group) const { return places_[static_cast<size_t>(group)] >= 0; }
  /// Takes row `rows[i]` of `values` for group `groups[i]`; of a group that stands twice the last.
  Status Take(const std::shared_ptr<arrow::Array>& values, std::span<const int64_t> rows,
              std::span<const int32_t> groups);
  /// Null for a group that nothing was taken for.
  Result<std::shared_ptr<arrow::Array>> Finish() const;

 private:
  const std::shared_ptr<arrow::DataType> type_;
  std::vector<int64_t> places_;  ///< in chunks_, -1: none
  arrow::ArrayVector chunks_;
  int64_t length_ = 0;
};

}  // namespace gnomon::dataset::internal
