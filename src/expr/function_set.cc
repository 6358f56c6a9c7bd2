#include "expr/function_set.h"

#include <algorithm>
#include <utility>

#include <arrow/type.h>

#include "base/text.h"
#include "expr/expression.h"
#include "expr/function_set_internal.h"

namespace gnomon::expr {

namespace {

/// The language's type of a parameter or result; kUser for types that it widens on reading or does
/// not know.
Result<Type> ExactType(const CustomFunction& function, const arrow::DataType& arrow_type) {
  const Type type = TypeOfColumn(arrow_type);
  const bool simple =
      type.kind != Kind::kNull && type.kind != Kind::kList && type.kind != Kind::kOpaque;
  if (simple && ArrowTypeOf(type)->Equals(arrow_type)) return type;
  return Error(ErrorKind::kUser, "function ", function.name(),
               " has a type that expressions do not: ", arrow_type.ToString());
}

Status AddOverload(std::shared_ptr<const CustomFunction> code, CustomEntry* entry) {
  Overload overload;
  for (const auto& parameter : code->parameters()) {
    GNOMON_ASSIGN_OR_RETURN(const Type type, ExactType(*code, *parameter));
    overload.parameters.push_back(type);
  }
  if (overload.parameters.empty()) {
    return Error(ErrorKind::kUser, "function ", code->name(), " takes no arguments");
  }
  GNOMON_ASSIGN_OR_RETURN(overload.result, ExactType(*code, *code->result()));
  overload.nulls_pass = code->sees_nulls();
  std::vector<std::string> types;
  for (const Type type : overload.parameters) types.push_back(TypeName(type));
  const std::string signature = Concat(code->name(), "(", Join(types, ", "), ")");
  std::vector<Overload>& known = entry->function.overloads;
  if (std::ranges::find(known, overload.parameters, &Overload::parameters) != known.end()) {
    return Error(ErrorKind::kUser, "two functions of one name and parameters: ", signature);
  }
  if (!known.empty()) entry->function.signature += " or ";
  entry->function.signature += signature;
  known.push_back(std::move(overload));
  entry->code.push_back(std::move(code));
  return Status::OK();
}

}  // namespace

FunctionSet::FunctionSet(std::unique_ptr<const Table> table) : table_(std::move(table)) {}
FunctionSet::~FunctionSet() = default;

Result<std::shared_ptr<const FunctionSet>> FunctionSet::Make(
    std::vector<std::shared_ptr<const CustomFunction>> functions) {
  auto table = std::make_unique<Table>();
  for (auto& code : functions) {
    const std::string& name = code->name();
    if (FindFunction(name) != nullptr) {
      return MakeError(ErrorKind::kConflict,
                       Concat("the expression language has a function of its own: ", name), {},
                       "give the plug-in's function another name");
    }
    const auto call = Expression::Parse(Concat(name, "(x)"));
    if (!call.ok() || call->functions() != std::vector<std::string>{name}) {
      return Error(ErrorKind::kUser, "no function can have this name: ", Quoted(name));
    }
    CustomEntry& entry = table->entries[name];
    entry.function.name = name;
    GNOMON_RETURN_NOT_OK(AddOverload(std::move(code), &entry));
  }
  return std::shared_ptr<const FunctionSet>(new FunctionSet(std::move(table)));
}

std::shared_ptr<const FunctionSet> FunctionSet::WithAbsent(
    const FunctionSet* known, std::map<std::string, std::string> owners) {
  auto table =
      known == nullptr ? std::make_unique<Table>() : std::make_unique<Table>(*known->table_);
  std::erase_if(owners, [&](const auto& owner) { return table->entries.contains(owner.first); });
  table->absent = std::move(owners);
  return std::shared_ptr<const FunctionSet>(new FunctionSet(std::move(table)));
}

std::vector<std::string> FunctionSet::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : table_->entries) names.push_back(name);
  return names;
}

}  // namespace gnomon::expr
