#include <cmath>
#include <functional>
#include <limits>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/checked_cast.h>

#include "base/text.h"
#include "dataset/key_encoding_internal.h"
#include "dataset/operators/accumulator_internal.h"
#include "dataset/operators/distinct_counter_internal.h"
#include "pit/exact_sum.h"
#include "pit/exact_variance.h"

namespace gnomon::dataset::internal {

namespace {

using arrow::internal::checked_cast;
using ArrayPtr = std::shared_ptr<arrow::Array>;
using pit::AggregateFunction;
using pit::Int128;

ArrayPtr Int64Array(std::vector<int64_t> values) {
  const auto length = static_cast<int64_t>(values.size());
  return std::make_shared<arrow::Int64Array>(length, arrow::Buffer::FromVector(std::move(values)));
}

class CountAccumulator : public Accumulator {
 public:
  int64_t BytesPerGroup() const override { return sizeof(int64_t); }
  void Resize(int64_t num_groups) override { counts_.resize(static_cast<size_t>(num_groups)); }
  Status Add(const ArrayPtr& values, const GroupedRows& rows) override {
    const bool all = values == nullptr || values->null_count() == 0;
    for (size_t i = 0; i < rows.rows.size(); ++i) {
      if (all || values->IsValid(rows.rows[i])) ++counts_[static_cast<size_t>(rows.groups[i])];
    }
    return Status::OK();
  }
  Result<ArrayPtr> Finish() override { return Int64Array(std::move(counts_)); }

 private:
  std::vector<int64_t> counts_;
};

/// Calls body(group, value) for the values that are not null, of the array's own C type.
template <typename ArrayType, typename Body>
void VisitValues(const arrow::Array& array, const GroupedRows& rows, Body&& body) {
  const auto& values = checked_cast<const ArrayType&>(array);
  for (size_t i = 0; i < rows.rows.size(); ++i) {
    if (values.IsValid(rows.rows[i])) body(rows.groups[i], values.Value(rows.rows[i]));
  }
}

/// The same for every type of numbers and booleans.
template <typename Body>
Status VisitNumbers(const arrow::Array& array, const GroupedRows& rows, Body&& body) {
  using arrow::Type;
  switch (array.type_id()) {
    case Type::BOOL:
      VisitValues<arrow::BooleanArray>(array, rows, body);
      break;
    case Type::INT8:
      VisitValues<arrow::Int8Array>(array, rows, body);
      break;
    case Type::INT16:
      VisitValues<arrow::Int16Array>(array, rows, body);
      break;
    case Type::INT32:
      VisitValues<arrow::Int32Array>(array, rows, body);
      break;
    case Type::INT64:
      VisitValues<arrow::Int64Array>(array, rows, body);
      break;
    case Type::UINT8:
      VisitValues<arrow::UInt8Array>(array, rows, body);
      break;
    case Type::UINT16:
      VisitValues<arrow::UInt16Array>(array, rows, body);
      break;
    case Type::UINT32:
      VisitValues<arrow::UInt32Array>(array, rows, body);
      break;
    case Type::UINT64:
      VisitValues<arrow::UInt64Array>(array, rows, body);
      break;
    case Type::FLOAT:
      VisitValues<arrow::FloatArray>(array, rows, body);
      break;
    case Type::DOUBLE:
      VisitValues<arrow::DoubleArray>(array, rows, body);
      break;
    default:
      return Error(ErrorKind::kInternal, "not a number: ", array.type()->ToString());
  }
  return Status::OK();
}

/// Sum or mean of floats, exact and rounded once.
class RealSumAccumulator : public Accumulator {
 public:
  explicit RealSumAccumulator(bool mean) : mean_(mean) {}
  int64_t BytesPerGroup() const override { return sizeof(State); }
  void Resize(int64_t num_groups) override { states_.Resize(num_groups); }
  Status Add(const ArrayPtr& values, const GroupedRows& rows) override {
    return VisitNumbers(*values, rows, [this](int32_t group, auto value) {
      states_[group].sum.Add(static_cast<double>(value));
      ++states_[group].count;
    });
  }
  Result<ArrayPtr> Finish() override {
    arrow::DoubleBuilder builder;
    GNOMON_RETURN_NOT_OK(builder.Reserve(states_.size()));
    for (int64_t group = 0; group < states_.size(); ++group) {
      const State& state = states_[group];
      if (state.count == 0) {
        GNOMON_RETURN_NOT_OK(builder.AppendNull());
      } else {
        const double sum = state.sum.Round();
        GNOMON_RETURN_NOT_OK(builder.Append(mean_ ? sum / static_cast<double>(state.count) : sum));
      }
    }
    return builder.Finish();
  }

 private:
  struct State {
    pit::ExactSum sum;
    int64_t count = 0;
  };
  const bool mean_;
  GroupStates<State> states_;
};

/// Sum or mean of integers and booleans.
class IntegerSumAccumulator : public Accumulator {
 public:
  explicit IntegerSumAccumulator(bool mean) : mean_(mean) {}
  int64_t BytesPerGroup() const override { return sizeof(State); }
  void Resize(int64_t num_groups) override { states_.Resize(num_groups); }
  Status Add(const ArrayPtr& values, const GroupedRows& rows) override {
    return VisitNumbers(*values, rows, [this](int32_t group, auto value) {
      states_[group].sum += static_cast<Int128>(value);
      ++states_[group].count;
    });
  }
  Result<ArrayPtr> Finish() override { return mean_ ? FinishMean() : FinishSum(); }

 private:
  struct State {
    Int128 sum = 0;
    int64_t count = 0;
  };

  Result<ArrayPtr> FinishMean() const {
    arrow::DoubleBuilder builder;
    GNOMON_RETURN_NOT_OK(builder.Reserve(states_.size()));
    for (int64_t group = 0; group < states_.size(); ++group) {
      const State& state = states_[group];
      if (state.count == 0) {
        GNOMON_RETURN_NOT_OK(builder.AppendNull());
      } else {
        GNOMON_RETURN_NOT_OK(
            builder.Append(static_cast<double>(state.sum) / static_cast<double>(state.count)));
      }
    }
    return builder.Finish();
  }

  Result<ArrayPtr> FinishSum() const {
    arrow::Int64Builder builder;
    GNOMON_RETURN_NOT_OK(builder.Reserve(states_.size()));
    for (int64_t group = 0; group < states_.size(); ++group) {
      const State& state = states_[group];
      if (state.sum > std::numeric_limits<int64_t>::max() ||
          state.sum < std::numeric_limits<int64_t>::min()) {
        return MakeError(ErrorKind::kUser, "a sum is beyond what int64 holds", {},
                         "sum the column as float64");
      }
      GNOMON_RETURN_NOT_OK(state.count == 0 ? builder.AppendNull()
                                            : builder.Append(static_cast<int64_t>(state.sum)));
    }
    return builder.Finish();
  }

  const bool mean_;
  GroupStates<State> states_;
};

class VarianceAccumulator : public Accumulator {
 public:
  VarianceAccumulator(bool root, int64_t ddof) : root_(root), ddof_(ddof) {}
  int64_t BytesPerGroup() const override { return sizeof(pit::ExactVariance); }
  void Resize(int64_t num_groups) override { states_.Resize(num_groups); }
  Status Add(const ArrayPtr& values, const GroupedRows& rows) override {
    return VisitNumbers(*values, rows, [this](int32_t group, auto value) {
      if constexpr (std::is_floating_point_v<decltype(value)>) {
        states_[group].Add(static_cast<double>(value));
      } else if (std::in_range<int64_t>(
                     static_cast<std::conditional_t<std::is_same_v<decltype(value), bool>, int,
                                                    decltype(value)>>(value))) {
        states_[group].AddInteger(static_cast<int64_t>(value));
      } else {
        states_[group].Add(static_cast<double>(value));
      }
    });
  }
  Result<ArrayPtr> Finish() override {
    arrow::DoubleBuilder builder;
    GNOMON_RETURN_NOT_OK(builder.Reserve(states_.size()));
    for (int64_t group = 0; group < states_.size(); ++group) {
      const pit::ExactVariance& state = states_[group];
      if (state.count() <= ddof_) {
        GNOMON_RETURN_NOT_OK(builder.AppendNull());
      } else {
        GNOMON_RETURN_NOT_OK(
            builder.Append(root_ ? state.StandardDeviation(ddof_) : state.Variance(ddof_)));
      }
    }
    return builder.Finish();
  }

 private:
  const bool root_;
  const int64_t ddof_;
  GroupStates<pit::ExactVariance> states_;
};

class DistinctAccumulator : public Accumulator {
 public:
  DistinctAccumulator(const Environment& environment, std::shared_ptr<arrow::DataType> type,
                      OperatorStats* stats)
      : type_(std::move(type)), counter_(environment, stats) {}
  int64_t BytesPerGroup() const override { return sizeof(int64_t); }
  void Resize(int64_t num_groups) override { num_groups_ = num_groups; }
  Status Add(const ArrayPtr& values, const GroupedRows& rows) override {
    const auto batch = arrow::RecordBatch::Make(arrow::schema({arrow::field("value", type_)}),
                                                values->length(), {values});
    GNOMON_ASSIGN_OR_RETURN(const auto keys, KeyEncoder({0}).Encode(*batch));
    for (size_t i = 0; i < rows.rows.size(); ++i) {
      if (!keys.HasNull(rows.rows[i]))
        GNOMON_RETURN_NOT_OK(counter_.Add(rows.groups[i], keys[rows.rows[i]]));
    }
    return Status::OK();
  }
  Result<ArrayPtr> Finish() override {
    std::vector<int64_t> counts(static_cast<size_t>(num_groups_), 0);
    GNOMON_RETURN_NOT_OK(counter_.Finish(&counts));
    return Int64Array(std::move(counts));
  }

 private:
  const std::shared_ptr<arrow::DataType> type_;
  DistinctCounter counter_;
  int64_t num_groups_ = 0;
};

}  // namespace

Result<std::unique_ptr<Accumulator>> MakeAccumulator(const Environment& environment,
                                                     const AggregateItem& item,
                                                     const std::shared_ptr<arrow::DataType>& input,
                                                     OperatorStats* stats) {
  const bool real =
      input != nullptr && (input->id() == arrow::Type::DOUBLE || input->id() == arrow::Type::FLOAT);
  const bool mean = item.function == AggregateFunction::kMean;
  switch (item.function) {
    case AggregateFunction::kCount:
      return std::make_unique<CountAccumulator>();
    case AggregateFunction::kSum:
    case AggregateFunction::kMean:
      if (real) return std::make_unique<RealSumAccumulator>(mean);
      return std::make_unique<IntegerSumAccumulator>(mean);
    case AggregateFunction::kMin:
    case AggregateFunction::kMax:
      return MakeExtremeAccumulator(input, item.function == AggregateFunction::kMax);
    case AggregateFunction::kStd:
    case AggregateFunction::kVar:
      return std::make_unique<VarianceAccumulator>(item.function == AggregateFunction::kStd,
                                                   item.ddof);
    case AggregateFunction::kFirst:
    case AggregateFunction::kLast:
      return MakeEndAccumulator(input, item.function == AggregateFunction::kLast);
    case AggregateFunction::kCountDistinct:
      return std::make_unique<DistinctAccumulator>(environment, input, stats);
    case AggregateFunction::kLastK:
    case AggregateFunction::kMedian:
    case AggregateFunction::kQuantile:
    case AggregateFunction::kMostFrequent:
    case AggregateFunction::kCustom:
      return MakeGatheredAccumulator(environment, item, input, stats);
  }
  return Error(ErrorKind::kInternal, "no such aggregate");
}

}  // namespace gnomon::dataset::internal
