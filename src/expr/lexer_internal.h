#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "expr/node_internal.h"

namespace gnomon::expr {

struct Token {
  enum class Kind {
    kEnd,
    kInteger,  ///< text holds the digits
    kFloat,
    kText,    ///< 'text', unescaped
    kWord,    ///< a bare name or keyword, as written
    kQuoted,  ///< "a name", unescaped
    kSign,    ///< an operator, a bracket or a comma
  };
  Kind kind = Kind::kEnd;
  Span span;
  std::string text;
};

/// Splits the text into tokens; the last is kEnd.
Result<std::vector<Token>> Tokenize(std::string_view text);

}  // namespace gnomon::expr
