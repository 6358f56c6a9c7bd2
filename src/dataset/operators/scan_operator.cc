#include <algorithm>
#include <set>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/progress.h"
#include "base/text.h"
#include "dataset/operators/factories_internal.h"
#include "dataset/plan_internal.h"
#include "dataset/scan_internal.h"
#include "expr/expression.h"
#include "expr/predicate.h"
#include "table/column.h"
#include "table/file_part.h"
#include "table/partition_path.h"

namespace gnomon::dataset::internal {

namespace {

/// Does the bound show that no value between the two is wanted? Types that the column is not cast
/// to without loss show nothing.
Result<bool> MayMatch(const expr::BoundExpression& comparison,
                      const std::shared_ptr<arrow::Field>& field,
                      const std::shared_ptr<arrow::Array>& ends) {
  const auto cast = table::CastLossless(ends, field->type());
  if (!cast.ok()) return true;
  const auto batch = arrow::RecordBatch::Make(arrow::schema({field}), 2, {*cast});
  const auto selected = comparison.Select(*batch);
  return !selected.ok() || !selected->empty();
}

class ScanOperator : public Operator {
 public:
  ScanOperator(const Environment& environment, const Plan& plan, OperatorStats* stats)
      : Operator(environment, plan->schema(), stats),
        plan_(plan),
        spec_(std::get<ScanSpec>(plan->spec())),
        full_(FullScanSchema(spec_)),
        rows_left_(spec_.limit) {}

  /// Which columns of the files are read, and with which probes.
  Status Prepare() {
    std::set<std::string> needed;
    for (const auto& field : schema()->fields()) needed.insert(field->name());
    for (const std::string& text : spec_.predicates) {
      GNOMON_ASSIGN_OR_RETURN(const auto expression, expr::Expression::Parse(text));
      for (const std::string& column : expression.columns()) needed.insert(column);
      GNOMON_ASSIGN_OR_RETURN(auto bound, expression.Bind(*full_));
      predicates_.push_back(std::move(bound));
      for (const expr::Bound& limit : expr::BoundsOf(expression))
        GNOMON_RETURN_NOT_OK(Probe(limit));
    }
    arrow::FieldVector fields;
    for (int i = 0; i < full_->num_fields(); ++i) {
      if (!needed.contains(full_->field(i)->name())) continue;
      fields.push_back(full_->field(i));
      if (i < spec_.file_schema->num_fields()) {
        options_.columns.push_back(spec_.file_schema->field(i)->name());
      } else {
        partitions_.push_back(i - spec_.file_schema->num_fields());
      }
    }
    // A file of which no column is wanted is read for its number of rows.
    no_file_columns_ = options_.columns.empty();
    if (no_file_columns_ && spec_.file_schema->num_fields() > 0)
      options_.columns.push_back(spec_.file_schema->field(0)->name());
    read_schema_ = arrow::schema(std::move(fields));
    for (const auto& field : schema()->fields())
      output_.push_back(read_schema_->GetFieldIndex(field->name()));
    options_.schema = spec_.file_schema;
    options_.refuse_other_columns = !spec_.declared;
    options_.batch_rows = batch_rows();
    if (spec_.limit && spec_.predicates.empty())
      options_.batch_rows = std::clamp<int64_t>(*spec_.limit, 1, options_.batch_rows);
    return Status::OK();
  }

 private:
  Status Probe(const expr::Bound& bound) {
    const int column = full_->GetFieldIndex(bound.column);
    if (column < 0 || column >= spec_.file_schema->num_fields()) return Status::OK();
    const auto field = full_->field(column);
    GNOMON_ASSIGN_OR_RETURN(auto comparison, bound.comparison.Bind(*arrow::schema({field})));
    options_.row_group_probes.push_back(
        {spec_.file_schema->field(column)->name(),
         [comparison = std::move(comparison), field](const std::shared_ptr<arrow::Array>& ends) {
           return MayMatch(comparison, field, ends);
         }});
    return Status::OK();
  }

  Result<BatchPtr> Pull() override {
    while (!rows_left_ || *rows_left_ > 0) {
      if (reader_ == nullptr) {
        if (file_ == spec_.files.size()) return nullptr;
        GNOMON_RETURN_NOT_OK(OpenFile(spec_.files[file_]));
      }
      const auto next = reader_->Next();
      GNOMON_RETURN_NOT_OK(Explained(spec_.files[file_], next.status()));
      const BatchPtr& read = *next;
      if (read == nullptr) {
        GNOMON_RETURN_NOT_OK(CloseFile());
        continue;
      }
      if (context().progress != nullptr) context().progress->Advance(read->num_rows());
      GNOMON_ASSIGN_OR_RETURN(auto batch, Finish(*read));
      if (batch->num_rows() == 0) continue;
      if (!rows_left_) return batch;
      if (batch->num_rows() > *rows_left_) batch = batch->Slice(0, *rows_left_);
      *rows_left_ -= batch->num_rows();
      return batch;
    }
    return nullptr;
  }

  Status OpenFile(const ScanFile& file) {
    GNOMON_RETURN_NOT_OK(CheckUnchanged(file));
    options_.format = file.format;
    auto reader = table::OpenFilePart(context(), file.path,
                                      {.index = file.part, .count = file.num_parts}, options_);
    GNOMON_RETURN_NOT_OK(Explained(file, reader.status()));
    reader_ = *std::move(reader);
    return Status::OK();
  }

  Status CloseFile() {
    stats()->row_groups += reader_->stats().row_groups;
    stats()->row_groups_pruned += reader_->stats().row_groups_pruned;
    stats()->pages += reader_->stats().pages;
    stats()->pages_pruned += reader_->stats().pages_pruned;
    reader_.reset();
    return CheckUnchanged(spec_.files[file_++]);
  }

  static Status CheckUnchanged(const ScanFile& file) {
    if (file.size < 0) return Status::OK();
    int64_t size = 0;
    int64_t modified_nanos = 0;
    GNOMON_RETURN_NOT_OK(StatFile(file.path, &size, &modified_nanos));
    if (size == file.size && modified_nanos == file.modified_nanos) return Status::OK();
    return MakeError(ErrorKind::kConflict,
                     Concat("the file has changed since the plan was made: ", file.path), {},
                     "make the plan again when the file is complete");
  }

  /// An error of reading is that of the change, when there was one.
  static Status Explained(const ScanFile& file, const Status& status) {
    if (status.ok()) return status;
    const Status change = CheckUnchanged(file);
    return change.ok() ? status : change;
  }

  /// Names of the plan, partition columns, predicates, the wanted columns in their order.
  Result<BatchPtr> Finish(const arrow::RecordBatch& read) {
    arrow::ArrayVector columns;
    if (!no_file_columns_) columns = read.columns();
    for (const int partition : partitions_) {
      GNOMON_ASSIGN_OR_RETURN(
          auto column, table::PartitionColumn(
                           spec_.files[file_].partition_values[static_cast<size_t>(partition)],
                           spec_.partition_schema->field(partition)->type(), read.num_rows()));
      columns.push_back(std::move(column));
    }
    BatchPtr batch = arrow::RecordBatch::Make(read_schema_, read.num_rows(), std::move(columns));
    for (const auto& predicate : predicates_) {
      auto selected = predicate.Select(*batch);
      GNOMON_RETURN_NOT_OK(WithContext(selected.status(), spec_.files[file_].path));
      if (static_cast<int64_t>(selected->size()) == batch->num_rows()) continue;
      GNOMON_ASSIGN_OR_RETURN(batch, GatherRows(context(), batch, *selected));
    }
    GNOMON_ASSIGN_OR_RETURN(batch, batch->SelectColumns(output_));
    return arrow::RecordBatch::Make(schema(), batch->num_rows(), batch->columns());
  }

  const Plan plan_;  ///< keeps spec_
  const ScanSpec& spec_;
  const SchemaPtr full_;
  SchemaPtr read_schema_;
  table::ReadOptions options_;
  std::vector<expr::BoundExpression> predicates_;
  std::vector<int> partitions_;
  std::vector<int> output_;
  bool no_file_columns_ = false;

  std::optional<int64_t> rows_left_;
  size_t file_ = 0;
  std::unique_ptr<table::TableReader> reader_;
};

}  // namespace

Result<OperatorPtr> MakeScanOperator(const Environment& environment, const Plan& plan,
                                     OperatorStats* stats) {
  auto scan = std::make_unique<ScanOperator>(environment, plan, stats);
  GNOMON_RETURN_NOT_OK(scan->Prepare());
  return scan;
}

}  // namespace gnomon::dataset::internal
