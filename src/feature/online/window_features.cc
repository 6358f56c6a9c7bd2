#include <utility>

#include <arrow/array.h>
#include <arrow/array/concatenate.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "feature/online/window_features_internal.h"
#include "feature/online/window_read_internal.h"

namespace gnomon::feature::internal {
namespace {

class WindowFeatures : public OnlineFeatures {
 public:
  WindowFeatures(std::shared_ptr<arrow::Schema> schema, WindowReader reader)
      : schema_(std::move(schema)), reader_(std::move(reader)) {}

  const std::shared_ptr<arrow::Schema>& schema() const override { return schema_; }

  Result<std::shared_ptr<arrow::RecordBatch>> Evaluate(const Context& context,
                                                       const arrow::RecordBatch& rows,
                                                       int64_t as_of) const override {
    OnlineValues stored;
    stored.found.assign(static_cast<size_t>(rows.num_rows()), true);
    stored.event_times.assign(static_cast<size_t>(rows.num_rows()), 0);
    for (const int field : reader_.fields()) {
      // A slice of lists drags the values of all other rows along; a copy has its own alone.
      GNOMON_ASSIGN_OR_RETURN(auto own, arrow::Concatenate({rows.column(field)}));
      stored.columns.push_back(std::move(own));
    }
    GNOMON_ASSIGN_OR_RETURN(auto values, reader_.Evaluate(context, stored, as_of));
    return arrow::RecordBatch::Make(schema_, rows.num_rows(), std::move(values.columns));
  }

 private:
  const std::shared_ptr<arrow::Schema> schema_;
  const WindowReader reader_;
};

}  // namespace

Result<std::shared_ptr<const OnlineFeatures>> MakeWindowFeatures(const OnlineTable& table,
                                                                 const FeatureView& view) {
  std::vector<const Field*> features;
  arrow::FieldVector fields;
  for (const Field& feature : view.schema) {
    features.push_back(&feature);
    fields.push_back(arrow::field(feature.name, feature.dtype.ToArrow()));
  }
  GNOMON_ASSIGN_OR_RETURN(WindowReader reader, WindowReader::Make(table, view, features));
  return std::make_shared<const WindowFeatures>(arrow::schema(std::move(fields)),
                                                std::move(reader));
}

}  // namespace gnomon::feature::internal
