#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace gnomon::expr {

/// A kUser error at a byte offset of an expression's text: the message, the line of the text and a
/// caret under the place. Location.column counts characters from 1; Location.line is set when the
/// text has several lines.
Status ErrorAt(std::string_view text, int offset, std::string_view message, std::string hint = {});

/// The text between two offsets for a message, shortened when it is long.
std::string Excerpt(std::string_view text, int begin, int end);

}  // namespace gnomon::expr
