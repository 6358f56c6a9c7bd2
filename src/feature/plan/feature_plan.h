#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "expr/expression.h"
#include "feature/definition/definition.h"

/// What a list of feature references or a feature service means: which features of which views are
/// read by which columns of the entity rows, which on-demand expressions run on them, and what the
/// output columns are called. Retrieval, online reads and serving all run the same plan, so they
/// cannot differ.
namespace gnomon::feature {

/// One projection of one feature view that has to be read.
struct PlannedView {
  const FeatureView* view = nullptr;   ///< owned by the plan's definitions
  std::string alias;                   ///< the name in full feature names
  std::vector<const Field*> features;  ///< requested ones and inputs of expressions, each once
  std::vector<std::string> join_keys;  ///< of the view's entities, in their order
  std::vector<std::string>
      entity_columns;  ///< the columns of the entity rows that hold them (join_key_map)
  std::vector<ValueType> key_types;
};

/// Where a value comes from: a feature of a planned view, request data, or an expression.
struct ColumnSlot {
  enum class Kind { kView, kRequest, kExpression };
  Kind kind = Kind::kView;
  int index = 0;    ///< into views, request_fields or expressions
  int feature = 0;  ///< for kView: into PlannedView::features
};

struct PlannedExpression {
  const OnDemandFeatureView* view = nullptr;
  const Field* field = nullptr;
  std::vector<std::string> input_names;  ///< columns of the expression
  std::vector<ColumnSlot> inputs;        ///< earlier expressions only
  std::shared_ptr<arrow::Schema> input_schema;
  expr::BoundExpression program;  ///< gives the field's type
};

struct PlannedOutput {
  std::string name;  ///< bare, or alias__feature with full names
  ColumnSlot slot;
  ValueType dtype;
};

struct FeaturePlan {
  std::shared_ptr<const Definitions> definitions;
  std::vector<PlannedView> views;
  std::vector<PlannedExpression> expressions;  ///< in an order in which they can run
  std::vector<PlannedOutput> outputs;          ///< in request order
  std::vector<Field> request_fields;           ///< needed from the entity rows
  /// Columns of the entity rows that are join keys, each once, in the order of first use, with
  /// their types.
  std::vector<Field> entity_fields;
  std::string feature_service;  ///< or empty
};

/// Plans `refs` ("view:feature", "view:*"). kNotFound for an unknown view or feature, with the
/// nearest one; kUser for a bare output name that stands twice (the hint says to ask for full
/// feature names) or equals an entity column.
Result<FeaturePlan> PlanFeatures(std::shared_ptr<const Definitions> definitions,
                                 std::span<const std::string> refs,
                                 bool full_feature_names = false);

/// Plans a feature service.
Result<FeaturePlan> PlanFeatureService(std::shared_ptr<const Definitions> definitions,
                                       const std::string& name, bool full_feature_names = false);

/// Columns by planned view and feature, all of the same length, and request data by request field.
struct PlanInputs {
  std::vector<std::vector<std::shared_ptr<arrow::Array>>> views;
  std::vector<std::shared_ptr<arrow::Array>> request;
  int64_t num_rows = 0;
};

/// Runs the expressions and gives the output columns in request order.
Result<std::vector<std::shared_ptr<arrow::Array>>> EvaluateOutputs(const FeaturePlan& plan,
                                                                   const PlanInputs& inputs);

/// A stable text of everything that determines a service's columns (sha256 hex): a model keeps it
/// to notice changes.
Result<std::string> FingerprintOf(const Definitions& definitions,
                                  const std::string& feature_service);

}  // namespace gnomon::feature
