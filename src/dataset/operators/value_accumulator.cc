#include <cmath>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/checked_cast.h>

#include "dataset/key_encoding_internal.h"
#include "dataset/operators/accumulator_internal.h"

/// Aggregates whose result is one of the values: first, last, min, max.
namespace gnomon::dataset::internal {

namespace {

using arrow::internal::checked_cast;
using ArrayPtr = std::shared_ptr<arrow::Array>;

/// First or last value that is not null.
class EndAccumulator : public Accumulator {
 public:
  EndAccumulator(const std::shared_ptr<arrow::DataType>& type, bool last)
      : last_(last), values_(type), seen_() {}
  int64_t BytesPerGroup() const override { return 4 * sizeof(int64_t); }
  void Resize(int64_t num_groups) override {
    values_.Resize(num_groups);
    seen_.resize(static_cast<size_t>(num_groups), -1);
  }
  Status Add(const ArrayPtr& values, const GroupedRows& rows) override {
    std::vector<int64_t> taken;
    std::vector<int32_t> groups;
    for (size_t i = 0; i < rows.rows.size(); ++i) {
      const int32_t group = rows.groups[i];
      if (values->IsNull(rows.rows[i])) continue;
      int64_t& seen = seen_[static_cast<size_t>(group)];
      if (seen >= 0) {  // taken in this batch
        if (last_) taken[static_cast<size_t>(seen)] = rows.rows[i];
        continue;
      }
      if (!last_ && values_.Has(group)) continue;
      seen = static_cast<int64_t>(taken.size());
      taken.push_back(rows.rows[i]);
      groups.push_back(group);
    }
    for (const int32_t group : groups) seen_[static_cast<size_t>(group)] = -1;
    return values_.Take(values, taken, groups);
  }
  Result<ArrayPtr> Finish() override { return values_.Finish(); }

 private:
  const bool last_;
  PickedValues values_;
  std::vector<int64_t> seen_;
};

/// Least or greatest value, by encoded bytes. NaN loses to every number.
class ExtremeAccumulator : public Accumulator {
 public:
  ExtremeAccumulator(const std::shared_ptr<arrow::DataType>& type, bool greatest)
      : greatest_(greatest), type_(type), values_(type) {}
  int64_t BytesPerGroup() const override { return sizeof(State) + 4 * sizeof(int64_t); }
  void Resize(int64_t num_groups) override {
    values_.Resize(num_groups);
    states_.Resize(num_groups);
  }
  Status Add(const ArrayPtr& values, const GroupedRows& rows) override {
    const auto batch = arrow::RecordBatch::Make(arrow::schema({arrow::field("value", type_)}),
                                                values->length(), {values});
    GNOMON_ASSIGN_OR_RETURN(const auto keys, KeyEncoder({0}).Encode(*batch));
    std::vector<int64_t> taken;
    std::vector<int32_t> groups;
    for (size_t i = 0; i < rows.rows.size(); ++i) {
      const int64_t row = rows.rows[i];
      if (keys.HasNull(row)) continue;
      State& state = states_[rows.groups[i]];
      const bool is_nan = IsNan(*values, row);
      if (state.has_value && !IsBetter(keys[row], is_nan, state)) continue;
      if (state.place < 0) {
        state.place = static_cast<int64_t>(taken.size());
        taken.push_back(row);
        groups.push_back(rows.groups[i]);
      } else {
        taken[static_cast<size_t>(state.place)] = row;
      }
      state.best.assign(keys[row]);
      state.has_value = true;
      state.is_nan = is_nan;
    }
    for (const int32_t group : groups) states_[group].place = -1;
    return values_.Take(values, taken, groups);
  }
  Result<ArrayPtr> Finish() override {
    GNOMON_ASSIGN_OR_RETURN(auto values, values_.Finish());
    if (type_->id() == arrow::Type::DOUBLE) return WithoutNegativeZero<arrow::DoubleType>(*values);
    if (type_->id() == arrow::Type::FLOAT) return WithoutNegativeZero<arrow::FloatType>(*values);
    return values;
  }

 private:
  struct State {
    std::string best = {};
    int64_t place = -1;  ///< among those taken of the present batch
    bool has_value = false;
    bool is_nan = false;
  };

  static bool IsNan(const arrow::Array& values, int64_t row) {
    if (values.type_id() == arrow::Type::DOUBLE)
      return std::isnan(checked_cast<const arrow::DoubleArray&>(values).Value(row));
    return values.type_id() == arrow::Type::FLOAT &&
           std::isnan(checked_cast<const arrow::FloatArray&>(values).Value(row));
  }

  bool IsBetter(std::string_view key, bool is_nan, const State& state) const {
    if (is_nan || state.is_nan) return state.is_nan && !is_nan;
    return greatest_ ? key > state.best : key < state.best;
  }

  template <typename Type>
  static Result<ArrayPtr> WithoutNegativeZero(const arrow::Array& array) {
    const auto& values = checked_cast<const arrow::NumericArray<Type>&>(array);
    arrow::NumericBuilder<Type> builder;
    for (int64_t i = 0; i < values.length(); ++i) {
      if (values.IsNull(i)) {
        GNOMON_RETURN_NOT_OK(builder.AppendNull());
      } else {
        GNOMON_RETURN_NOT_OK(builder.Append(values.Value(i) == 0 ? 0 : values.Value(i)));
      }
    }
    return builder.Finish();
  }

  const bool greatest_;
  const std::shared_ptr<arrow::DataType> type_;
  PickedValues values_;
  GroupStates<State> states_;
};

}  // namespace

std::unique_ptr<Accumulator> MakeEndAccumulator(const std::shared_ptr<arrow::DataType>& type,
                                                bool last) {
  return std::make_unique<EndAccumulator>(type, last);
}

std::unique_ptr<Accumulator> MakeExtremeAccumulator(const std::shared_ptr<arrow::DataType>& type,
                                                    bool greatest) {
  return std::make_unique<ExtremeAccumulator>(type, greatest);
}

}  // namespace gnomon::dataset::internal
