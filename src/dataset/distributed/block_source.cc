#include <utility>

#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "dataset/distributed/block_source_internal.h"

namespace gnomon::dataset::internal {

namespace {

class EdgesSource : public BatchSource {
 public:
  EdgesSource(const runtime::TaskContext& task, std::vector<int> edges,
              std::shared_ptr<arrow::Schema> schema)
      : task_(task), edges_(std::move(edges)), schema_(std::move(schema)) {}

  Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    while (true) {
      if (reader_ == nullptr) {
        if (next_ == edges_.size()) return nullptr;
        GNOMON_ASSIGN_OR_RETURN(reader_, task_.OpenInput(static_cast<size_t>(edges_[next_++])));
        if (reader_ == nullptr) continue;
      }
      std::shared_ptr<arrow::RecordBatch> batch;
      GNOMON_RETURN_NOT_OK(reader_->ReadNext(&batch));
      if (batch != nullptr) return WithSchema(*batch, schema_);
      reader_.reset();
    }
  }

 private:
  const runtime::TaskContext& task_;
  const std::vector<int> edges_;
  const std::shared_ptr<arrow::Schema> schema_;
  size_t next_ = 0;
  std::shared_ptr<arrow::RecordBatchReader> reader_;
};

}  // namespace

Result<std::unique_ptr<BatchSource>> OpenEdges(const runtime::TaskContext& task,
                                               std::vector<int> edges,
                                               std::shared_ptr<arrow::Schema> schema) {
  return std::make_unique<EdgesSource>(task, std::move(edges), std::move(schema));
}

Result<std::shared_ptr<arrow::RecordBatch>> WithSchema(
    const arrow::RecordBatch& batch, const std::shared_ptr<arrow::Schema>& schema) {
  bool fits = batch.num_columns() == schema->num_fields();
  for (int i = 0; fits && i < batch.num_columns(); ++i) {
    fits = batch.column(i)->type()->Equals(*schema->field(i)->type()) &&
           batch.schema()->field(i)->name() == schema->field(i)->name();
  }
  if (!fits) {
    return Error(ErrorKind::kInternal, "a stage gave (", batch.schema()->ToString(),
                 ") where the next one expects (", schema->ToString(), ")");
  }
  return arrow::RecordBatch::Make(schema, batch.num_rows(), batch.columns());
}

}  // namespace gnomon::dataset::internal
