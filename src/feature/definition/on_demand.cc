#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include <arrow/type.h>

#include "expr/expression.h"
#include "feature/definition/validate_internal.h"

namespace gnomon::feature {

namespace {

// Every column that the expressions of a view may read.
struct InputTable {
  std::map<std::string, OnDemandInput> columns;
  std::map<std::string, std::vector<std::string>> owners;  // column -> views that have it
  const expr::FunctionSet* functions = nullptr;
  bool complete = true;  // false: a source's features are not known yet
};

void AddColumn(InputTable* table, OnDemandInput input, const std::string& owner) {
  std::vector<std::string>& owners = table->owners[input.column];
  if (std::ranges::find(owners, owner) == owners.end()) owners.push_back(owner);
  std::string column = input.column;
  table->columns.insert_or_assign(std::move(column), std::move(input));
}

Result<InputTable> TableOf(const Definitions& definitions, const OnDemandFeatureView& view) {
  InputTable table;
  table.functions = definitions.functions();
  for (const std::string& source : view.sources) {
    if (definitions.FindFeatureView(source) == nullptr &&
        definitions.FindOnDemandFeatureView(source) == nullptr) {
      return ObjectError(kOnDemandKind, view.name, Concat("unknown source view ", Quoted(source)),
                         DidYouMean(source, definitions.ViewNames()));
    }
    const auto fields = KnownFields(definitions, source);
    if (!fields) {
      table.complete = false;
      continue;
    }
    for (const Field& field : *fields) {
      AddColumn(&table, {field.name, source, field.name, field.dtype}, source);
      AddColumn(&table, {Concat(source, "__", field.name), source, field.name, field.dtype},
                source);
    }
  }
  for (const Field& field : view.request_schema) {
    AddColumn(&table, {field.name, "", field.name, field.dtype}, "");
  }
  return table;
}

// Binding finds the place in the text; what is known has no type here, since it may not have one
// yet.
Status UnknownColumn(const OnDemandFeatureView& view, const InputTable& table,
                     const std::string& feature, const std::string& column,
                     const expr::Expression& expression) {
  std::vector<std::string> names;
  arrow::FieldVector known;
  for (const auto& [name, input] : table.columns) {
    names.push_back(name);
    known.push_back(arrow::field(name, arrow::null()));
  }
  const Status pointed = expression.Bind(arrow::Schema(known), table.functions).status();
  const std::string what = pointed.ok() ? Concat("unknown column: ", column) : pointed.message();
  std::string hint = HintOf(pointed);
  if (hint.empty()) hint = Concat("columns: ", Join(names, ", "));
  return ObjectError(kOnDemandKind, view.name, Concat("feature ", Quoted(feature), ": ", what),
                     std::move(hint));
}

Status AmbiguousColumn(const OnDemandFeatureView& view, const std::vector<std::string>& owners,
                       const std::string& feature, const std::string& column) {
  std::vector<std::string> named;
  std::string full;
  for (const std::string& owner : owners) {
    named.push_back(owner.empty() ? "the request" : owner);
    if (full.empty() && !owner.empty()) full = Concat(owner, "__", column);
  }
  return ObjectError(kOnDemandKind, view.name,
                     Concat("feature ", Quoted(feature), ": column ", Quoted(column),
                            " is ambiguous: it is in ", Join(named, " and ")),
                     Concat("write view__feature, as in ", full));
}

// The inputs of one expression; `incomplete` is set when one may belong to a source that is not
// known yet.
Result<std::vector<OnDemandInput>> InputsOf(const OnDemandFeatureView& view,
                                            const InputTable& table, const Transformation& item,
                                            bool* incomplete) {
  auto parsed = expr::Expression::Parse(item.expression);
  if (!parsed.ok()) {
    return WithContext(parsed.status(), Concat(kOnDemandKind, " ", Quoted(view.name), ": feature ",
                                               Quoted(item.name)));
  }
  std::vector<OnDemandInput> inputs;
  for (const std::string& column : parsed->columns()) {
    const auto found = table.columns.find(column);
    if (found == table.columns.end()) {
      if (table.complete) return UnknownColumn(view, table, item.name, column, *parsed);
      *incomplete = true;
      continue;
    }
    const std::vector<std::string>& owners = table.owners.at(column);
    if (owners.size() > 1) return AmbiguousColumn(view, owners, item.name, column);
    if (found->second.dtype.base == ValueType::kInvalid) *incomplete = true;
    inputs.push_back(found->second);
  }
  return inputs;
}

// The type of an expression; absent when an input's type is not known yet.
Result<std::shared_ptr<arrow::DataType>> TypeOf(const OnDemandFeatureView& view,
                                                const InputTable& table,
                                                const Transformation& item) {
  bool incomplete = false;
  GNOMON_ASSIGN_OR_RETURN(const auto inputs, InputsOf(view, table, item, &incomplete));
  if (incomplete) return nullptr;
  arrow::FieldVector fields;
  for (const OnDemandInput& input : inputs) {
    fields.push_back(arrow::field(input.column, input.dtype.ToArrow()));
  }
  const auto context = [&](const Status& status) {
    return WithContext(
        status, Concat(kOnDemandKind, " ", Quoted(view.name), ": feature ", Quoted(item.name)));
  };
  auto parsed = expr::Expression::Parse(item.expression);
  if (!parsed.ok()) return context(parsed.status());
  auto bound = parsed->Bind(arrow::Schema(std::move(fields)), table.functions);
  if (!bound.ok()) return context(bound.status());
  return bound->type();
}

// The declared type when the expression's can be stored as it, the expression's own when none is
// declared.
Result<ValueType> Settle(const OnDemandFeatureView& view, const Field& field,
                         const arrow::DataType& type) {
  const bool declared = field.dtype.base != ValueType::kInvalid;
  if (declared && type.id() == arrow::Type::NA) return field.dtype;
  auto inferred = ValueType::FromArrow(type);
  if (!inferred.ok()) {
    return WithContext(inferred.status(), Concat(kOnDemandKind, " ", Quoted(view.name),
                                                 ": feature ", Quoted(field.name)));
  }
  if (!declared) return *inferred;
  if (Widens(*inferred, field.dtype)) return field.dtype;
  return ObjectError(kOnDemandKind, view.name,
                     Concat("feature ", Quoted(field.name), " is declared ", field.dtype.ToString(),
                            ", but its expression gives ", inferred->ToString()),
                     Concat("declare dtype: ", inferred->ToString(), " or cast the expression"));
}

}  // namespace

Result<std::vector<OnDemandInput>> OnDemandInputs(const Definitions& definitions,
                                                  const OnDemandFeatureView& view) {
  GNOMON_ASSIGN_OR_RETURN(InputTable table, TableOf(definitions, view));
  table.complete = true;
  std::map<std::string, OnDemandInput> used;
  for (const Transformation& item : view.expressions) {
    bool incomplete = false;
    GNOMON_ASSIGN_OR_RETURN(auto inputs, InputsOf(view, table, item, &incomplete));
    for (OnDemandInput& input : inputs) {
      std::string column = input.column;
      used.insert_or_assign(std::move(column), std::move(input));
    }
  }
  std::vector<OnDemandInput> inputs;
  for (auto& [column, input] : used) inputs.push_back(std::move(input));
  return inputs;
}

Result<std::vector<std::string>> OnDemandOrder(const Definitions& definitions,
                                               const std::vector<std::string>& views) {
  return OrderByParents(kOnDemandKind, views, [&](const std::string& name) {
    const OnDemandFeatureView* view = definitions.FindOnDemandFeatureView(name);
    return view == nullptr ? nullptr : &view->sources;
  });
}

Status CheckOnDemandShape(const OnDemandFeatureView& view) {
  GNOMON_RETURN_NOT_OK(CheckFields(kOnDemandKind, view.name, "feature", view.schema));
  GNOMON_RETURN_NOT_OK(CheckFields(kOnDemandKind, view.name, "request field", view.request_schema));
  if (view.schema.empty()) return ObjectError(kOnDemandKind, view.name, "it has no features");
  if (view.write_to_online_store) {
    return ObjectError(
        kOnDemandKind, view.name,
        "write_to_online_store needs sources and no request data, which is not there "
        "when features are materialized",
        "leave write_to_online_store out: the features are computed when they are read");
  }
  if (view.sources.empty() && view.request_schema.empty()) {
    return ObjectError(kOnDemandKind, view.name, "it has neither sources nor request fields");
  }
  if (view.schema.size() != view.expressions.size()) {
    return ObjectError(kOnDemandKind, view.name, "features and expressions differ in number");
  }
  for (const Field& field : view.request_schema) {
    if (field.dtype.base == ValueType::kInvalid) {
      return ObjectError(kOnDemandKind, view.name,
                         Concat("request field ", Quoted(field.name), " has no dtype"));
    }
  }
  for (size_t i = 0; i < view.schema.size(); ++i) {
    if (view.schema[i].name != view.expressions[i].name) {
      return ObjectError(kOnDemandKind, view.name,
                         Concat("feature ", Quoted(view.schema[i].name), " has the expression of ",
                                Quoted(view.expressions[i].name)));
    }
    GNOMON_RETURN_NOT_OK(CheckExpression(kOnDemandKind, view.name,
                                         Concat("feature ", Quoted(view.schema[i].name)),
                                         view.expressions[i].expression));
  }
  std::set<std::string> sources;
  for (const std::string& source : view.sources) {
    if (!sources.insert(source).second) {
      return ObjectError(kOnDemandKind, view.name,
                         Concat("source ", Quoted(source), " stands twice"));
    }
  }
  return Status::OK();
}

Status CheckOnDemandView(const Definitions& definitions, const OnDemandFeatureView& view) {
  GNOMON_ASSIGN_OR_RETURN(const InputTable table, TableOf(definitions, view));
  for (size_t i = 0; i < view.expressions.size(); ++i) {
    GNOMON_ASSIGN_OR_RETURN(const auto type, TypeOf(view, table, view.expressions[i]));
    if (type != nullptr) GNOMON_RETURN_NOT_OK(Settle(view, view.schema[i], *type).status());
  }
  return Status::OK();
}

Status CompleteOnDemandView(const Definitions& definitions, OnDemandFeatureView* view) {
  GNOMON_ASSIGN_OR_RETURN(const InputTable table, TableOf(definitions, *view));
  for (size_t i = 0; i < view->expressions.size(); ++i) {
    GNOMON_ASSIGN_OR_RETURN(const auto type, TypeOf(*view, table, view->expressions[i]));
    if (type == nullptr) continue;
    GNOMON_ASSIGN_OR_RETURN(view->schema[i].dtype, Settle(*view, view->schema[i], *type));
  }
  return Status::OK();
}

}  // namespace gnomon::feature
