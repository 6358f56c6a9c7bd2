#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/memory_reservation.h"
#include "dataset/execution.h"

/// What all operators are made of.
namespace gnomon::dataset::internal {

using BatchPtr = std::shared_ptr<arrow::RecordBatch>;
using SchemaPtr = std::shared_ptr<arrow::Schema>;

/// What the operators of one execution share. Outlives them.
struct Environment {
  Context context;
  ExecutionOptions options;
};

/// A node of the physical plan. Next() of the base class counts, times and looks at the context.
class Operator : public BatchSource {
 public:
  /// `stats` outlives the operator; its seconds are counted with those of the inputs.
  Operator(const Environment& environment, SchemaPtr schema, OperatorStats* stats)
      : environment_(environment), schema_(std::move(schema)), stats_(stats) {}

  Result<BatchPtr> Next() final;
  const SchemaPtr& schema() const { return schema_; }

 protected:
  /// The next batch, which may be empty; null at the end.
  virtual Result<BatchPtr> Pull() = 0;

  const Environment& environment() const { return environment_; }
  const Context& context() const { return environment_.context; }
  int64_t batch_rows() const { return environment_.options.batch_rows; }
  OperatorStats* stats() const { return stats_; }

 private:
  const Environment& environment_;
  const SchemaPtr schema_;
  OperatorStats* const stats_;
  bool ended_ = false;
};
using OperatorPtr = std::unique_ptr<Operator>;

/// Bytes of the values that the batch refers to.
Result<int64_t> BatchBytes(const arrow::RecordBatch& batch);

/// Rows `indices` of the batches one after the other; below 0 gives nulls. Columns are gathered in
/// parallel. All batches have the schema.
Result<BatchPtr> GatherRows(const Context& context, const SchemaPtr& schema,
                            std::span<const BatchPtr> batches, std::span<const int64_t> indices);
Result<BatchPtr> GatherRows(const Context& context, const BatchPtr& batch,
                            std::span<const int64_t> indices);

/// One batch of the rows of all. REQUIRES: at least one.
Result<BatchPtr> ConcatenateBatches(const std::vector<BatchPtr>& batches);

/// The batch with a column int64 `name` at its end.
Result<BatchPtr> WithInt64Column(const arrow::RecordBatch& batch, const std::string& name,
                                 std::vector<int64_t> values);
/// first, first + 1, ...
std::vector<int64_t> Positions(int64_t first, int64_t count);
/// The int64 column at `column`.
std::span<const int64_t> Int64Column(const arrow::RecordBatch& batch, int column);

/// Batches in memory as a source.
class MemorySource : public BatchSource {
 public:
  explicit MemorySource(std::vector<BatchPtr> batches) : batches_(std::move(batches)) {}
  Result<BatchPtr> Next() override;

 private:
  std::vector<BatchPtr> batches_;
  size_t next_ = 0;
};

/// Cuts a stream into batches of exactly `rows` rows (the last one may have less), so that what is
/// done with them does not depend on the batches of the execution.
class Rebatcher : public BatchSource {
 public:
  Rebatcher(BatchSource* input, int64_t rows) : input_(input), rows_(rows) {}
  Result<BatchPtr> Next() override;

 private:
  BatchSource* const input_;
  const int64_t rows_;
  std::vector<BatchPtr> pending_;
  int64_t pending_rows_ = 0;
  bool ended_ = false;
};

}  // namespace gnomon::dataset::internal
