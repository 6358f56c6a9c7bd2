#include "feature/engine/derived_columns.h"

#include <algorithm>
#include <utility>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

namespace gnomon::feature {
namespace {

using table::PartitionedTable;
using table::PartitionStream;

struct Step {
  std::string name;
  expr::BoundExpression expression;
  std::vector<std::string> inputs;
};

/// What a scan of some columns takes: columns of the table below, and steps on top of them.
struct Derivation {
  std::vector<int> inputs;         ///< places in the table below
  std::vector<const Step*> steps;  ///< in order
  std::vector<std::string> names;  ///< of the wanted columns
  std::shared_ptr<arrow::Schema> input_schema;

  /// The wanted columns of rows whose inputs are given.
  Result<arrow::ArrayVector> Evaluate(arrow::ArrayVector values, int64_t num_rows) const {
    auto batch = arrow::RecordBatch::Make(input_schema, num_rows, std::move(values));
    for (const Step* step : steps) {
      GNOMON_ASSIGN_OR_RETURN(auto column, step->expression.Evaluate(*batch));
      const auto field = arrow::field(step->name, column->type());
      const int place = batch->schema()->GetFieldIndex(step->name);
      GNOMON_ASSIGN_OR_RETURN(batch, place >= 0
                                         ? batch->SetColumn(place, field, column)
                                         : batch->AddColumn(batch->num_columns(), field, column));
    }
    arrow::ArrayVector columns;
    for (const std::string& name : names) columns.push_back(batch->GetColumnByName(name));
    return columns;
  }
};

class DerivedStream : public PartitionStream {
 public:
  DerivedStream(std::unique_ptr<PartitionStream> stream, Derivation derivation,
                std::shared_ptr<arrow::Schema> schema, int64_t first_row)
      : stream_(std::move(stream)),
        derivation_(std::move(derivation)),
        schema_(std::move(schema)),
        row_(first_row) {}

  Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    GNOMON_ASSIGN_OR_RETURN(const auto batch, stream_->Next());
    if (batch == nullptr) return nullptr;
    auto columns = derivation_.Evaluate(batch->columns(), batch->num_rows());
    if (!columns.ok()) return WithRowMoved(columns.status(), row_);
    row_ += batch->num_rows();
    return arrow::RecordBatch::Make(schema_, batch->num_rows(), *std::move(columns));
  }

 private:
  std::unique_ptr<PartitionStream> stream_;
  Derivation derivation_;
  std::shared_ptr<arrow::Schema> schema_;
  int64_t row_;
};

class DerivedTable : public PartitionedTable {
 public:
  DerivedTable(std::shared_ptr<const PartitionedTable> table, std::vector<Step> steps,
               std::shared_ptr<arrow::Schema> schema)
      : table_(std::move(table)), steps_(std::move(steps)), schema_(std::move(schema)) {}

  const std::string& name() const override { return table_->name(); }
  const std::shared_ptr<arrow::Schema>& schema() const override { return schema_; }
  int64_t num_partitions() const override { return table_->num_partitions(); }
  int64_t num_rows(int64_t partition) const override { return table_->num_rows(partition); }
  int64_t NumBytes(int64_t partition, const std::vector<int>& columns) const override {
    return table_->NumBytes(partition, DerivationOf(columns).inputs);
  }
  bool reads_columns_apart(int64_t partition) const override {
    return table_->reads_columns_apart(partition);
  }
  bool LiesOutside(int64_t partition, int time_column,
                   const table::TimeRange& range) const override {
    const bool derived =
        std::ranges::find(steps_, schema_->field(time_column)->name(), &Step::name) != steps_.end();
    return !derived && table_->LiesOutside(partition, time_column, range);
  }

  Result<std::unique_ptr<PartitionStream>> Scan(const Context& context, int64_t partition,
                                                const std::vector<int>& columns,
                                                int64_t batch_rows) const override {
    Derivation derivation = DerivationOf(columns);
    if (derivation.steps.empty()) return table_->Scan(context, partition, columns, batch_rows);
    GNOMON_ASSIGN_OR_RETURN(auto stream,
                            table_->Scan(context, partition, derivation.inputs, batch_rows));
    arrow::FieldVector fields;
    for (const int column : columns) fields.push_back(schema_->field(column));
    return std::make_unique<DerivedStream>(std::move(stream), std::move(derivation),
                                           arrow::schema(std::move(fields)),
                                           FirstRowOf(*table_, partition));
  }

  Result<arrow::ArrayVector> Gather(const Context& context, int64_t partition,
                                    const std::vector<int>& columns,
                                    std::span<const int64_t> rows) const override {
    const Derivation derivation = DerivationOf(columns);
    if (derivation.steps.empty()) return table_->Gather(context, partition, columns, rows);
    GNOMON_ASSIGN_OR_RETURN(auto inputs,
                            table_->Gather(context, partition, derivation.inputs, rows));
    auto values = derivation.Evaluate(std::move(inputs), static_cast<int64_t>(rows.size()));
    if (values.ok()) return values;
    const int64_t row = LocationOf(values.status()).row;
    if (row < 0 || row >= static_cast<int64_t>(rows.size())) return values;
    return WithRowMoved(values.status(),
                        FirstRowOf(*table_, partition) + rows[static_cast<size_t>(row)] - row);
  }

 private:
  Derivation DerivationOf(const std::vector<int>& columns) const {
    Derivation derivation;
    std::set<std::string> wanted;
    for (const int column : columns) {
      derivation.names.push_back(schema_->field(column)->name());
      wanted.insert(derivation.names.back());
    }
    for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) {
      if (wanted.erase(step->name) == 0) continue;
      derivation.steps.insert(derivation.steps.begin(), &*step);
      wanted.insert(step->inputs.begin(), step->inputs.end());
    }
    arrow::FieldVector fields;
    for (const std::string& name : wanted) {
      derivation.inputs.push_back(table_->schema()->GetFieldIndex(name));
      fields.push_back(table_->schema()->field(derivation.inputs.back()));
    }
    // Expressions of constants read no column, but need as many rows.
    if (fields.empty() && table_->schema()->num_fields() > 0) {
      derivation.inputs.push_back(0);
      fields.push_back(table_->schema()->field(0));
    }
    derivation.input_schema = arrow::schema(std::move(fields));
    return derivation;
  }

  std::shared_ptr<const PartitionedTable> table_;
  std::vector<Step> steps_;
  std::shared_ptr<arrow::Schema> schema_;
};

}  // namespace

Result<std::shared_ptr<const PartitionedTable>> DeriveColumns(
    std::shared_ptr<const PartitionedTable> table, const std::vector<Transformation>& steps,
    const std::set<std::string>& needed, const expr::FunctionSet* functions) {
  std::shared_ptr<arrow::Schema> schema = table->schema();
  std::vector<Step> bound;
  for (const Transformation& step : steps) {
    if (!needed.contains(step.name)) continue;
    GNOMON_ASSIGN_OR_RETURN(expr::Expression parsed, expr::Expression::Parse(step.expression));
    GNOMON_ASSIGN_OR_RETURN(expr::BoundExpression expression, parsed.Bind(*schema, functions));
    const auto field = arrow::field(step.name, expression.type());
    const int place = schema->GetFieldIndex(step.name);
    GNOMON_ASSIGN_OR_RETURN(schema, place >= 0 ? schema->SetField(place, field)
                                               : schema->AddField(schema->num_fields(), field));
    bound.push_back({step.name, std::move(expression), parsed.columns()});
  }
  if (bound.empty()) return table;
  return std::make_shared<DerivedTable>(std::move(table), std::move(bound), std::move(schema));
}

int64_t FirstRowOf(const PartitionedTable& table, int64_t partition) {
  int64_t row = 0;
  for (int64_t earlier = 0; earlier < partition; ++earlier)
    row += std::max<int64_t>(0, table.num_rows(earlier));
  return row;
}

Status WithRowMoved(const Status& status, int64_t added) {
  Location location = LocationOf(status);
  if (location.row < 0) return status;
  location.row += added;
  return WithLocation(status, std::move(location));
}

}  // namespace gnomon::feature
