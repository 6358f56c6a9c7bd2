#include "expr/expression.h"

#include <set>
#include <utility>

#include <arrow/array.h>
#include <arrow/record_batch.h>

#include "base/text.h"
#include "expr/binder_internal.h"
#include "expr/node_internal.h"
#include "expr/parser_internal.h"
#include "expr/program_internal.h"

namespace gnomon::expr {

namespace {

void CollectColumns(const Expression::Node& node, std::set<std::string>* columns) {
  if (node.shape == Expression::Node::Shape::kColumn) columns->insert(node.name);
  for (const auto& child : node.children) CollectColumns(*child, columns);
}

void CollectFunctions(const Expression::Node& node, std::set<std::string>* functions) {
  if (node.shape == Expression::Node::Shape::kCall) functions->insert(node.name);
  for (const auto& child : node.children) CollectFunctions(*child, functions);
}

}  // namespace

Expression::Expression(std::string text, std::shared_ptr<const Node> root)
    : text_(std::move(text)), root_(std::move(root)) {}

Result<Expression> Expression::Parse(std::string_view text) {
  GNOMON_ASSIGN_OR_RETURN(auto root, ParseTree(text));
  return Expression(std::string(text), std::move(root));
}

std::vector<std::string> Expression::columns() const {
  std::set<std::string> columns;
  CollectColumns(*root_, &columns);
  return {columns.begin(), columns.end()};
}

std::vector<std::string> Expression::functions() const {
  std::set<std::string> functions;
  CollectFunctions(*root_, &functions);
  return {functions.begin(), functions.end()};
}

const std::string& Expression::text() const { return text_; }

Result<BoundExpression> Expression::Bind(const arrow::Schema& schema,
                                         const FunctionSet* functions) const {
  GNOMON_ASSIGN_OR_RETURN(auto program, BindTree(text_, *root_, schema, functions));
  return BoundExpression(std::move(program));
}

BoundExpression::BoundExpression(std::shared_ptr<const Program> program)
    : program_(std::move(program)) {}

const std::shared_ptr<arrow::DataType>& BoundExpression::type() const { return program_->type; }

Result<std::shared_ptr<arrow::Array>> BoundExpression::Evaluate(
    const arrow::RecordBatch& batch) const {
  const int64_t num_rows = batch.num_rows();
  if (program_->bare_column >= 0) {
    const InputColumn& input = program_->inputs[static_cast<size_t>(program_->bare_column)];
    GNOMON_ASSIGN_OR_RETURN(auto array, FindColumn(batch, input));
    return arrow::MakeArray(array);
  }
  if (num_rows == 0) return arrow::MakeEmptyArray(program_->type);
  Evaluation evaluation(program_->inputs, &batch);
  GNOMON_ASSIGN_OR_RETURN(const Vector vector,
                          program_->root->Evaluate(evaluation, {.count = num_rows}));
  return WriteArray(vector, program_->root->type(), num_rows, program_->type);
}

Result<std::vector<int64_t>> BoundExpression::Select(const arrow::RecordBatch& batch) const {
  const Kind kind = program_->root->type().kind;
  if (kind != Kind::kBool && kind != Kind::kNull) {
    return Error(ErrorKind::kUser, "a filter that is not a bool but ",
                 TypeName(program_->root->type()), ": ", program_->text);
  }
  std::vector<int64_t> selected;
  const int64_t num_rows = batch.num_rows();
  if (num_rows == 0 || kind == Kind::kNull) return selected;
  Evaluation evaluation(program_->inputs, &batch);
  GNOMON_ASSIGN_OR_RETURN(const Vector vector,
                          program_->root->Evaluate(evaluation, {.count = num_rows}));
  for (int64_t i = 0; i < num_rows; ++i) {
    if (vector.IsValid(i) && vector.At<uint8_t>(i) != 0) selected.push_back(i);
  }
  return selected;
}

}  // namespace gnomon::expr
