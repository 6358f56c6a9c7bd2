#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "expr/function_internal.h"
#include "expr/function_set.h"

namespace gnomon::expr {

/// A name with its overloads: function.overloads[i] is implemented by code[i].
struct CustomEntry {
  Function function;
  std::vector<std::shared_ptr<const CustomFunction>> code;
};

struct FunctionSet::Table {
  std::map<std::string, CustomEntry> entries;
  std::map<std::string, std::string> absent;  ///< name -> library
};

/// A call of `code`, whose parameters the arguments have become.
BoundNodePtr MakeCustomCall(std::shared_ptr<const CustomFunction> code,
                            std::vector<BoundNodePtr> arguments, Type type, std::string_view text,
                            Span span);

}  // namespace gnomon::expr
