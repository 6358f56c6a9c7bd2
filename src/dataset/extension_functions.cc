#include "dataset/extension_functions.h"

#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "expr/expression.h"

namespace gnomon::dataset {

namespace {

using FunctionsPtr = std::shared_ptr<const expr::FunctionSet>;
using SchemaPtr = std::shared_ptr<arrow::Schema>;
using BatchPtr = std::shared_ptr<arrow::RecordBatch>;

/// A call of one function of the set.
struct Call {
  std::string name;
  FunctionsPtr functions;

  Result<expr::BoundExpression> Bind(const arrow::Schema& input, std::string_view arguments) const {
    GNOMON_ASSIGN_OR_RETURN(const auto parsed,
                            expr::Expression::Parse(Concat(name, "(", arguments, ")")));
    return parsed.Bind(input, functions.get());
  }

  Result<SchemaPtr> OutputSchema(const arrow::Schema& input, std::string_view arguments) const {
    GNOMON_ASSIGN_OR_RETURN(const auto bound, Bind(input, arguments));
    auto field = arrow::field(name, bound.type());
    const int place = input.GetFieldIndex(name);
    arrow::FieldVector fields = input.fields();
    if (place < 0) {
      fields.push_back(std::move(field));
    } else {
      fields[static_cast<size_t>(place)] = std::move(field);
    }
    return arrow::schema(std::move(fields));
  }

  Result<BatchPtr> Apply(const BatchPtr& batch, std::string_view arguments) const {
    GNOMON_ASSIGN_OR_RETURN(const auto bound, Bind(*batch->schema(), arguments));
    GNOMON_ASSIGN_OR_RETURN(auto values, bound.Evaluate(*batch));
    GNOMON_ASSIGN_OR_RETURN(auto schema, OutputSchema(*batch->schema(), arguments));
    arrow::ArrayVector columns = batch->columns();
    const int place = batch->schema()->GetFieldIndex(name);
    if (place < 0) {
      columns.push_back(std::move(values));
    } else {
      columns[static_cast<size_t>(place)] = std::move(values);
    }
    return arrow::RecordBatch::Make(std::move(schema), batch->num_rows(), std::move(columns));
  }
};

}  // namespace

std::map<std::string, std::shared_ptr<const BatchFunction>> BatchFunctionsOf(
    const FunctionsPtr& functions) {
  std::map<std::string, std::shared_ptr<const BatchFunction>> found;
  if (functions == nullptr) return found;
  for (const std::string& name : functions->names()) {
    const Call call{name, functions};
    found[name] = std::make_shared<const BatchFunction>(BatchFunction{
        .output_schema =
            [call](const arrow::Schema& input, std::string_view arguments) {
              return call.OutputSchema(input, arguments);
            },
        .apply = [call](const Context& /*context*/, const BatchPtr& batch,
                        std::string_view arguments) { return call.Apply(batch, arguments); },
        .row_wise = true});
  }
  return found;
}

}  // namespace gnomon::dataset
