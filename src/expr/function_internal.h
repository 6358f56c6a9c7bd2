#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "expr/program_internal.h"

namespace gnomon::expr {

/// One typing of a function. Arguments are brought to the parameters' types by the promotions of
/// the language.
struct Overload {
  std::vector<Type> parameters;
  Type result;
  Kernel kernel = nullptr;
  bool variadic = false;  ///< the last parameter repeats, once or more
  bool nulls_pass =
      false;  ///< the kernel sees null arguments; otherwise a null argument gives null
};

/// A function, operator or special form of the language: one row of the reference. Special forms
/// (and, case, ...) have no overloads; the binder knows them by shape.
struct Function {
  std::string name;       ///< in lower case; operators by their sign
  std::string signature;  ///< "round(x[, digits])"
  std::string doc;        ///< one or two sentences
  std::string example;    ///< a constant expression
  std::string result;     ///< its value as text
  std::vector<Overload> overloads;
  std::string gives = {};  ///< the type of a special form; of other functions the overloads say it
  /// Looks at arguments that must be known before evaluation. Returns a problem, or an empty
  /// string; `argument` is the index of the one at fault. Null: nothing to check.
  std::string (*check)(std::span<const BoundNodePtr> arguments, size_t* argument) = nullptr;
};

/// A section of the reference.
struct FunctionFamily {
  std::string title;
  std::string doc;
  std::vector<Function> functions;
};

FunctionFamily LogicFunctions();
FunctionFamily ArithmeticFunctions();
FunctionFamily ComparisonFunctions();
FunctionFamily ConditionalFunctions();
FunctionFamily MathFunctions();
FunctionFamily TextFunctions();
FunctionFamily TimeFunctions();
FunctionFamily ListFunctions();
FunctionFamily CastFunctions();
FunctionFamily HashFunctions();

/// The typings of length(list), beside those of texts.
std::vector<Overload> ListLengthOverloads();

/// All families in the order of the reference. To add a function, add a row to the family's file
/// under functions/.
const std::vector<FunctionFamily>& AllFunctions();

/// By its name in lower case; null when there is none.
const Function* FindFunction(std::string_view name);

/// The names that can be called with brackets, for "did you mean".
std::vector<std::string> CallableNames();

/// The kernel of cast(from as to), null when there is none. REQUIRES: from != to.
Kernel CastKernel(Type from, CastTarget to);

}  // namespace gnomon::expr
