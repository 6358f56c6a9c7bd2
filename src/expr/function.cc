#include <algorithm>
#include <unordered_map>

#include "base/text.h"
#include "expr/function_internal.h"

namespace gnomon::expr {

namespace {

bool IsCallable(const Function& function) {
  return function.signature.starts_with(Concat(function.name, '('));
}

// A cell of a Markdown table.
std::string Cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out.push_back('\\');
    out.push_back(c);
  }
  return out;
}

std::string ResultTypes(const Function& function) {
  std::string types = function.gives;
  for (const Overload& overload : function.overloads) {
    const std::string name = TypeName(overload.result);
    const std::vector<std::string> seen = Split(types, ' ');
    if (std::ranges::find(seen, name) != seen.end()) continue;
    if (!types.empty()) types += ' ';
    types += name;
  }
  return types;
}

}  // namespace

const std::vector<FunctionFamily>& AllFunctions() {
  static const std::vector<FunctionFamily> kFamilies = {
      ArithmeticFunctions(), ComparisonFunctions(), LogicFunctions(), ConditionalFunctions(),
      MathFunctions(),       TextFunctions(),       TimeFunctions(),  CastFunctions(),
      ListFunctions(),       HashFunctions()};
  return kFamilies;
}

const Function* FindFunction(std::string_view name) {
  static const std::unordered_map<std::string_view, const Function*> kByName = [] {
    std::unordered_map<std::string_view, const Function*> by_name;
    for (const FunctionFamily& family : AllFunctions()) {
      for (const Function& function : family.functions) by_name.emplace(function.name, &function);
    }
    return by_name;
  }();
  const auto found = kByName.find(name);
  return found == kByName.end() ? nullptr : found->second;
}

std::vector<std::string> CallableNames() {
  std::vector<std::string> names;
  for (const FunctionFamily& family : AllFunctions()) {
    for (const Function& function : family.functions) {
      if (IsCallable(function)) names.push_back(function.name);
    }
  }
  return names;
}

std::string FunctionReference() {
  std::string out;
  for (const FunctionFamily& family : AllFunctions()) {
    out += Concat("## ", family.title, "\n\n", family.doc, "\n\n");
    out += "| Form | Gives | Meaning | Example |\n|---|---|---|---|\n";
    for (const Function& function : family.functions) {
      const std::string example =
          function.example.empty()
              ? ""
              : Concat('`', Cell(function.example), "` gives `", Cell(function.result), '`');
      out += Concat("| `", Cell(function.signature), "` | ", ResultTypes(function), " | ",
                    Cell(function.doc), " | ", example, " |\n");
    }
    out += '\n';
  }
  out.pop_back();
  return out;
}

}  // namespace gnomon::expr
