#include <algorithm>
#include <utility>

#include <arrow/type.h>

#include "base/text.h"
#include "base/time.h"
#include "expr/binder_internal.h"
#include "expr/conditional_internal.h"
#include "expr/diagnostic_internal.h"
#include "expr/function_internal.h"
#include "expr/function_set_internal.h"
#include "expr/promotion_internal.h"

namespace gnomon::expr {

namespace {

using Node = Expression::Node;
using Shape = Node::Shape;
using Nodes = std::vector<BoundNodePtr>;

bool IsTime(Type type) { return type == kTimestampType || type == kDateType; }

class Binder {
 public:
  Binder(std::string_view text, const arrow::Schema& schema, const FunctionSet* functions,
         std::vector<InputColumn>* inputs)
      : text_(text), schema_(schema), functions_(functions), inputs_(inputs) {}

  Result<BoundNodePtr> Bind(const Node& node) {
    switch (node.shape) {
      case Shape::kLiteral:
        return BindLiteral(node);
      case Shape::kColumn:
        return BindColumn(node);
      case Shape::kCall:
        return BindCall(node);
      case Shape::kAnd:
      case Shape::kOr:
        return BindLogic(node);
      case Shape::kIsNull: {
        GNOMON_ASSIGN_OR_RETURN(BoundNodePtr value, Bind(*node.children[0]));
        return MakeIsNull(std::move(value), node.negated, text_, node.span);
      }
      case Shape::kIn:
        return BindIn(node);
      case Shape::kCase:
        return BindCase(node);
      case Shape::kCast:
        return BindCast(node);
    }
    GNOMON_CHECK(false, "an unknown shape of node");
  }

 private:
  Status Error(int at, std::string_view message, std::string hint = {}) const {
    return ErrorAt(text_, at, message, std::move(hint));
  }

  Result<Nodes> BindAll(std::span<const std::shared_ptr<const Node>> children) {
    Nodes nodes;
    nodes.reserve(children.size());
    for (const auto& child : children) {
      GNOMON_ASSIGN_OR_RETURN(BoundNodePtr bound, Bind(*child));
      nodes.push_back(std::move(bound));
    }
    return nodes;
  }

  Result<BoundNodePtr> BindLiteral(const Node& node) {
    const auto make = [&](Type type, Vector value) {
      return MakeConstant(type, std::move(value), text_, node.span);
    };
    switch (node.literal.index()) {
      case 0:
        return make(kNullType, NullVector(kNullType));
      case 1:
        return make(kBoolType, ConstantVector<uint8_t>(std::get<bool>(node.literal) ? 1 : 0));
      case 2:
        return make(kIntType, ConstantVector(std::get<int64_t>(node.literal)));
      case 3:
        return make(kFloatType, ConstantVector(std::get<double>(node.literal)));
      case 4:
        return make(kTextType,
                    ConstantVector(std::string_view(std::get<std::string>(node.literal))));
      case 5:
        return make(kTimestampType,
                    ConstantVector(std::get<TimestampLiteral>(node.literal).micros));
      case 6:
        return make(kDateType, ConstantVector(std::get<DateLiteral>(node.literal).days));
      default:
        return make(kDurationType, ConstantVector(std::get<DurationLiteral>(node.literal).micros));
    }
  }

  Result<BoundNodePtr> BindColumn(const Node& node) {
    const int position = schema_.GetFieldIndex(node.name);
    if (position < 0) {
      if (!schema_.GetAllFieldIndices(node.name).empty()) {
        return Error(node.at, Concat("several columns have the name: ", node.name));
      }
      return Error(node.at, Concat("unknown column: ", node.name),
                   DidYouMean(node.name, schema_.field_names()));
    }
    const auto same = std::ranges::find(*inputs_, node.name, &InputColumn::name);
    const auto index = static_cast<size_t>(same - inputs_->begin());
    if (same == inputs_->end()) {
      const auto& arrow_type = schema_.field(position)->type();
      inputs_->push_back({node.name, arrow_type, TypeOfColumn(*arrow_type), position});
    }
    return MakeColumn(index, (*inputs_)[index].type, text_, node.span);
  }

  Result<BoundNodePtr> BindCall(const Node& node) {
    if (node.name == "coalesce" || node.name == "if_null") return BindCoalesce(node);
    const Function* function = FindFunction(node.name);
    const CustomEntry* custom = nullptr;
    if (function == nullptr || function->overloads.empty()) {
      custom = FindCustom(node.name);
      if (custom == nullptr) {
        GNOMON_RETURN_NOT_OK(CheckAbsent(node));
        return Error(node.at, Concat("unknown function: ", node.name),
                     DidYouMean(node.name, KnownNames()));
      }
      function = &custom->function;
    }
    GNOMON_ASSIGN_OR_RETURN(Nodes arguments, BindAll(node.children));
    if (node.name == "concat") GNOMON_RETURN_NOT_OK(ToTexts(node, &arguments));
    const Overload* const overload = PickOverload(*function, arguments);
    if (overload == nullptr) return NoOverload(node, *function, arguments);
    for (size_t i = 0; i < arguments.size(); ++i) {
      arguments[i] = Promote(std::move(arguments[i]), ParameterType(*overload, i), text_);
    }
    if (custom != nullptr) {
      const auto index = static_cast<size_t>(overload - function->overloads.data());
      return MakeCustomCall(custom->code[index], std::move(arguments), overload->result, text_,
                            node.span);
    }
    if (function->check != nullptr) {
      size_t argument = 0;
      const std::string problem = function->check(arguments, &argument);
      if (!problem.empty()) return Error(arguments[argument]->span().begin, problem);
    }
    return MakeCall(overload->kernel, overload->nulls_pass, std::move(arguments), overload->result,
                    text_, node.span);
  }

  const CustomEntry* FindCustom(const std::string& name) const {
    if (functions_ == nullptr) return nullptr;
    const auto& entries = functions_->table().entries;
    const auto found = entries.find(name);
    return found == entries.end() ? nullptr : &found->second;
  }

  Status CheckAbsent(const Node& node) const {
    if (functions_ == nullptr) return Status::OK();
    const auto& absent = functions_->table().absent;
    const auto found = absent.find(node.name);
    if (found == absent.end()) return Status::OK();
    return Error(node.at,
                 Concat("function ", node.name,
                        " is of a plug-in library that is not loaded: ", found->second),
                 "name the library under plugins: in feature_store.yaml");
  }

  std::vector<std::string> KnownNames() const {
    std::vector<std::string> names = CallableNames();
    if (functions_ != nullptr) std::ranges::move(functions_->names(), std::back_inserter(names));
    return names;
  }

  // Arguments of concat become texts.
  Status ToTexts(const Node& node, Nodes* arguments) {
    for (size_t i = 0; i < arguments->size(); ++i) {
      BoundNodePtr& argument = (*arguments)[i];
      if (argument->type() == kTextType || argument->type() == kNullType) continue;
      GNOMON_ASSIGN_OR_RETURN(
          argument, MakeCast(std::move(argument), {kTextType}, "string", node.children[i]->at));
    }
    return Status::OK();
  }

  Status NoOverload(const Node& node, const Function& function,
                    std::span<const BoundNodePtr> arguments) const {
    std::vector<std::string> given;
    for (const BoundNodePtr& argument : arguments) given.push_back(TypeName(argument->type()));
    std::vector<std::string> known;
    bool right_count = false;
    bool about_times = true;  // a text among the arguments was meant as a time
    for (const Overload& overload : function.overloads) {
      const size_t count = overload.parameters.size();
      right_count = right_count || arguments.size() == count ||
                    (overload.variadic && arguments.size() > count);
      std::vector<std::string> types;
      for (const Type type : overload.parameters) types.push_back(TypeName(type));
      about_times = about_times && std::ranges::any_of(overload.parameters, IsTime);
      known.push_back(Concat('(', Join(types, ", "), overload.variadic ? ", ...)" : ")"));
    }
    const std::string name = function.name == "unary -" ? "-" : function.name;
    if (!right_count) {
      return Error(node.at, Concat("wrong number of arguments of ", name, ": ", arguments.size()),
                   Concat("write: ", function.signature));
    }
    std::string hint = Concat("it takes ", Join(known, ", "), "; cast(x as type) converts");
    about_times = about_times || std::ranges::any_of(arguments, IsTime, [](const BoundNodePtr& a) {
                    return a->type();
                  });
    for (const BoundNodePtr& argument : arguments) {
      const Vector* const constant = argument->type() == kTextType ? argument->constant() : nullptr;
      if (!about_times || constant == nullptr || !constant->IsValid(0)) continue;
      const Status parsed = ParseTimestamp(constant->At<std::string_view>(0)).status();
      if (!parsed.ok()) hint += Concat("; as a time: ", parsed.message());
    }
    return Error(node.at, Concat(name, " does not take: (", Join(given, ", "), ')'),
                 std::move(hint));
  }

  // A boolean part of and, or, case.
  Result<BoundNodePtr> BindCondition(const Node& node, std::string_view of) {
    GNOMON_ASSIGN_OR_RETURN(BoundNodePtr bound, Bind(node));
    if (!PromotionCost(*bound, kBoolType)) {
      return Error(node.span.begin, Concat(of, " wants a bool, not: ", TypeName(bound->type())),
                   "compare it: x != 0");
    }
    return Promote(std::move(bound), kBoolType, text_);
  }

  Result<BoundNodePtr> BindLogic(const Node& node) {
    const bool is_and = node.shape == Shape::kAnd;
    Nodes parts;
    for (const auto& child : node.children) {
      GNOMON_ASSIGN_OR_RETURN(BoundNodePtr part, BindCondition(*child, is_and ? "and" : "or"));
      parts.push_back(std::move(part));
    }
    return (is_and ? MakeAnd : MakeOr)(std::move(parts), text_, node.span);
  }

  // Brings all nodes to one type; null pointers are passed over.
  Result<Type> Unify(int at, std::string_view what, std::span<BoundNodePtr* const> nodes,
                     bool comparable) {
    std::vector<const BoundNode*> present;
    for (const BoundNodePtr* const node : nodes) {
      if (*node != nullptr) present.push_back(node->get());
    }
    const std::optional<Type> type = CommonType(present);
    if (!type) {
      std::vector<std::string> names;
      for (const BoundNode* const node : present) {
        std::string name = TypeName(node->type());
        if (std::ranges::find(names, name) == names.end()) names.push_back(std::move(name));
      }
      return Error(at, Concat(what, " that are not of one type: ", Join(names, ", ")),
                   "cast(x as type) converts");
    }
    if (comparable && type->kind == Kind::kList) return Error(at, "lists are not compared");
    for (BoundNodePtr* const node : nodes) {
      if (*node != nullptr) *node = Promote(std::move(*node), *type, text_);
    }
    return *type;
  }

  Result<BoundNodePtr> BindIn(const Node& node) {
    GNOMON_ASSIGN_OR_RETURN(Nodes values, BindAll(node.children));
    std::vector<BoundNodePtr*> all;
    for (BoundNodePtr& value : values) all.push_back(&value);
    GNOMON_RETURN_NOT_OK(Unify(node.at, "values of in", all, true).status());
    BoundNodePtr value = std::move(values.front());
    values.erase(values.begin());
    return MakeIn(std::move(value), std::move(values), text_, node.span);
  }

  Result<BoundNodePtr> BindCoalesce(const Node& node) {
    const bool is_pair = node.name == "if_null";
    if (node.children.empty() || (is_pair && node.children.size() != 2)) {
      return Error(node.at,
                   Concat("wrong number of arguments of ", node.name, ": ", node.children.size()),
                   Concat("write: ", FindFunction(node.name)->signature));
    }
    GNOMON_ASSIGN_OR_RETURN(Nodes parts, BindAll(node.children));
    std::vector<BoundNodePtr*> all;
    for (BoundNodePtr& part : parts) all.push_back(&part);
    GNOMON_ASSIGN_OR_RETURN(const Type type, Unify(node.at, "arguments", all, false));
    return MakeCoalesce(std::move(parts), type, text_, node.span);
  }

  Result<BoundNodePtr> BindCase(const Node& node) {
    size_t next = 0;
    BoundNodePtr operand;
    if (node.has_operand) {
      GNOMON_ASSIGN_OR_RETURN(operand, Bind(*node.children[next++]));
    }
    const size_t end = node.children.size() - (node.has_else ? 1 : 0);
    std::vector<CaseBranch> branches;
    for (; next < end; next += 2) {
      CaseBranch branch;
      GNOMON_ASSIGN_OR_RETURN(branch.when, node.has_operand
                                               ? Bind(*node.children[next])
                                               : BindCondition(*node.children[next], "when"));
      GNOMON_ASSIGN_OR_RETURN(branch.then, Bind(*node.children[next + 1]));
      branches.push_back(std::move(branch));
    }
    BoundNodePtr otherwise;
    if (node.has_else) {
      GNOMON_ASSIGN_OR_RETURN(otherwise, Bind(*node.children.back()));
    }
    std::vector<BoundNodePtr*> values = {&otherwise};
    std::vector<BoundNodePtr*> keys = {&operand};
    for (CaseBranch& branch : branches) {
      values.push_back(&branch.then);
      keys.push_back(&branch.when);
    }
    if (node.has_operand)
      GNOMON_RETURN_NOT_OK(Unify(node.at, "compared values of case", keys, true).status());
    GNOMON_ASSIGN_OR_RETURN(const Type type, Unify(node.at, "branches of case", values, false));
    return MakeCase(std::move(operand), std::move(branches), std::move(otherwise), type, text_,
                    node.span);
  }

  Result<BoundNodePtr> BindCast(const Node& node) {
    const std::optional<CastTarget> target = ParseCastTarget(node.name);
    if (!target) {
      const std::vector<std::string> names = {"bool",    "int32",  "int64",     "float32",
                                              "float64", "string", "timestamp", "date"};
      std::string hint = DidYouMean(node.name, names);
      if (hint.empty()) hint = Concat("one of ", Join(names, ", "));
      return Error(node.at, Concat("unknown type: ", node.name), std::move(hint));
    }
    GNOMON_ASSIGN_OR_RETURN(BoundNodePtr operand, Bind(*node.children[0]));
    return MakeCast(std::move(operand), *target, node.name, node.span.begin, node.span);
  }

  Result<BoundNodePtr> MakeCast(BoundNodePtr operand, CastTarget target, std::string_view type_name,
                                int at, std::optional<Span> whole = std::nullopt) {
    const Span span = whole.value_or(operand->span());
    if (operand->type() == kNullType)
      return MakeConstant(target.type, NullVector(target.type), text_, span);
    const bool same = operand->type() == target.type;
    const Kernel kernel = CastKernel(operand->type(), target);
    if (kernel == nullptr) {
      if (same) return operand;
      const bool epoch = operand->type() == kIntType && target.type == kTimestampType;
      const bool seconds = operand->type() == kTimestampType && target.type == kIntType;
      return Error(at, Concat("cannot cast ", TypeName(operand->type()), " to ", type_name),
                   epoch     ? "timestamp_seconds(x) counts from 1970"
                   : seconds ? "epoch_seconds(t) counts from 1970"
                             : "");
    }
    std::vector<BoundNodePtr> arguments;
    arguments.push_back(std::move(operand));
    return MakeCall(kernel, false, std::move(arguments), target.type, text_, span);
  }

  const std::string_view text_;
  const arrow::Schema& schema_;
  const FunctionSet* const functions_;
  std::vector<InputColumn>* const inputs_;
};

// How the whole expression is written.
std::shared_ptr<arrow::DataType> ResultType(const Node& root, Type type) {
  if (root.shape == Shape::kCast) {
    const CastTarget target = ParseCastTarget(root.name).value_or(CastTarget{});
    if (target.width == CastTarget::Width::kInt32) return arrow::int32();
    if (target.width == CastTarget::Width::kFloat32) return arrow::float32();
  }
  return ArrowTypeOf(type);
}

}  // namespace

Result<std::shared_ptr<const BoundExpression::Program>> BindTree(std::string_view text,
                                                                 const Node& root,
                                                                 const arrow::Schema& schema,
                                                                 const FunctionSet* functions) {
  auto program = std::make_shared<BoundExpression::Program>();
  program->text = text;
  GNOMON_ASSIGN_OR_RETURN(program->root,
                          Binder(program->text, schema, functions, &program->inputs).Bind(root));
  const Type type = program->root->type();
  if (root.shape == Shape::kColumn) {
    const auto& own = program->inputs[0].arrow_type;
    const bool as_it_is = type.kind == Kind::kOpaque || own->Equals(ArrowTypeOf(type));
    if (as_it_is) program->bare_column = 0;
    program->type = as_it_is ? own : ArrowTypeOf(type);
  } else {
    program->type = ResultType(root, type);
  }
  return program;
}

}  // namespace gnomon::expr
