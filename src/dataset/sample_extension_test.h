#pragma once

#include <memory>
#include <string>
#include <utility>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "dataset/extension_functions.h"
#include "dataset/plan.h"
#include "expr/function_set.h"
#include "pit/custom_aggregate.h"
#include "tests/support/status.h"

/// What a plug-in might bring, for tests of plans that call one.
namespace gnomon::dataset {

struct TrailInput : pit::CustomInput {
  explicit TrailInput(std::shared_ptr<arrow::Array> array) : values(std::move(array)) {}
  std::shared_ptr<arrow::Array> values;
};

/// The values one after the other, "1 2 3"; a merge shows as `seam`. So it tells the order of the
/// rows and, with a bar, how they were cut into states.
struct TrailState : pit::CustomState {
  explicit TrailState(std::string merged) : seam(std::move(merged)) {}
  const std::string seam;
  std::string trail;

  Status Reset() override {
    trail.clear();
    return Status::OK();
  }
  Status Accumulate(const pit::CustomInput& input, int64_t begin, int64_t end) override {
    const auto& array =
        static_cast<const arrow::Int64Array&>(*static_cast<const TrailInput&>(input).values);
    for (int64_t i = begin; i < end; ++i) {
      if (array.Value(i) == -13) return Error(ErrorKind::kUser, "an unlucky value");
      trail += (trail.empty() ? "" : " ") + std::to_string(array.Value(i));
    }
    return Status::OK();
  }
  Status Merge(const pit::CustomState& later) override {
    const std::string& rest = static_cast<const TrailState&>(later).trail;
    if (seam == " " && (trail.empty() || rest.empty())) {
      trail += rest;
    } else {
      trail += seam + rest;
    }
    return Status::OK();
  }
  Result<pit::CustomValue> Finish() const override {
    return pit::CustomValue{.is_valid = true, .integer = 0, .real = 0, .text = trail};
  }
};

class TrailAggregate : public pit::CustomAggregate {
 public:
  TrailAggregate(std::string name, bool of_nothing, std::string seam = "|")
      : name_(std::move(name)), of_nothing_(of_nothing), seam_(std::move(seam)) {}
  const std::string& name() const override { return name_; }
  const std::shared_ptr<arrow::DataType>& input() const override { return input_; }
  const std::shared_ptr<arrow::DataType>& result() const override { return result_; }
  bool has_value_of_nothing() const override { return of_nothing_; }
  Result<std::unique_ptr<pit::CustomInput>> Prepare(
      const std::shared_ptr<arrow::Array>& values) const override {
    return std::make_unique<TrailInput>(values);
  }
  Result<std::unique_ptr<pit::CustomState>> MakeState() const override {
    return std::make_unique<TrailState>(seam_);
  }

 private:
  const std::string name_;
  const bool of_nothing_;
  const std::string seam_;
  const std::shared_ptr<arrow::DataType> input_ = arrow::int64();
  const std::shared_ptr<arrow::DataType> result_ = arrow::utf8();
};

/// triple(int64) -> int64; refuses -13.
class TripleFunction : public expr::CustomFunction {
 public:
  const std::string& name() const override { return name_; }
  const std::vector<std::shared_ptr<arrow::DataType>>& parameters() const override {
    return parameters_;
  }
  const std::shared_ptr<arrow::DataType>& result() const override { return parameters_[0]; }
  bool sees_nulls() const override { return false; }
  Result<std::shared_ptr<arrow::Array>> Evaluate(
      std::span<const std::shared_ptr<arrow::Array>> arguments, int64_t num_rows) const override {
    const auto& values = static_cast<const arrow::Int64Array&>(*arguments[0]);
    arrow::Int64Builder builder;
    for (int64_t i = 0; i < num_rows; ++i) {
      if (values.Value(i) == -13) return Error(ErrorKind::kUser, "an unlucky value");
      GNOMON_RETURN_NOT_OK(builder.Append(3 * values.Value(i)));
    }
    return builder.Finish();
  }

 private:
  const std::string name_ = "triple";
  const std::vector<std::shared_ptr<arrow::DataType>> parameters_ = {arrow::int64()};
};

/// One row a call: how many it was given. It sees how rows are cut into calls.
inline BatchFunction CallRows() {
  const auto schema = arrow::schema({arrow::field("rows", arrow::int64())});
  return {.output_schema = [schema](const arrow::Schema&, std::string_view)
              -> Result<std::shared_ptr<arrow::Schema>> { return schema; },
          .apply = [schema](const Context&, const std::shared_ptr<arrow::RecordBatch>& batch,
                            std::string_view) -> Result<std::shared_ptr<arrow::RecordBatch>> {
            arrow::Int64Builder builder;
            GNOMON_RETURN_NOT_OK(builder.Append(batch->num_rows()));
            GNOMON_ASSIGN_OR_RETURN(auto column, builder.Finish());
            return arrow::RecordBatch::Make(schema, 1, {std::move(column)});
          }};
}

/// Adds the number of rows of its call, and so is not row-wise.
inline BatchFunction CountRows() {
  return {.output_schema = [](const arrow::Schema& input,
                              std::string_view) -> Result<std::shared_ptr<arrow::Schema>> {
            return input.AddField(input.num_fields(), arrow::field("call_rows", arrow::int64()));
          },
          .apply = [](const Context&, const std::shared_ptr<arrow::RecordBatch>& batch,
                      std::string_view) -> Result<std::shared_ptr<arrow::RecordBatch>> {
            arrow::Int64Builder counts;
            for (int64_t i = 0; i < batch->num_rows(); ++i) {
              GNOMON_RETURN_NOT_OK(counts.Append(batch->num_rows()));
            }
            GNOMON_ASSIGN_OR_RETURN(const auto column, counts.Finish());
            return batch->AddColumn(batch->num_columns(), arrow::field("call_rows", arrow::int64()),
                                    column);
          }};
}

/// The aggregates trail and trail_or_empty, whose merges show, and chain and chain_or_empty, whose
/// do not; the functions triple and call_rows.
inline PlanExtensions TestExtensions() {
  PlanExtensions extensions;
  extensions.functions =
      gnomon::test::ValueOf(expr::FunctionSet::Make({std::make_shared<TripleFunction>()}));
  extensions.batch_functions = BatchFunctionsOf(extensions.functions);
  extensions.batch_functions["call_rows"] = std::make_shared<const BatchFunction>(CallRows());
  extensions.aggregates["trail"] = std::make_shared<TrailAggregate>("trail", false);
  extensions.aggregates["trail_or_empty"] =
      std::make_shared<TrailAggregate>("trail_or_empty", true);
  extensions.aggregates["chain"] = std::make_shared<TrailAggregate>("chain", false, " ");
  extensions.aggregates["chain_or_empty"] =
      std::make_shared<TrailAggregate>("chain_or_empty", true, " ");
  return extensions;
}

/// An item of an aggregate of the extensions.
inline AggregateItem ItemOf(const PlanExtensions& extensions, const std::string& aggregate,
                            std::string column) {
  return {.function = pit::AggregateFunction::kCustom,
          .column = std::move(column),
          .custom = extensions.aggregates.at(aggregate)};
}

}  // namespace gnomon::dataset
