#pragma once

#include <cstdio>
#include <initializer_list>
#include <source_location>

#include "base/error.h"

/// What the fuzz harnesses demand of the code under test.
namespace gnomon::fuzz {

inline void Require(bool condition,
                    const std::source_location where = std::source_location::current()) {
  if (condition) return;
  std::fprintf(stderr, "%s:%u: not so\n", where.file_name(), where.line());
  __builtin_trap();
}

/// OK, or an error with a text and one of these kinds.
inline void RequireKind(const Status& status, std::initializer_list<ErrorKind> kinds,
                        const std::source_location where = std::source_location::current()) {
  if (status.ok()) return;
  bool found = false;
  for (const ErrorKind kind : kinds) found = found || KindOf(status) == kind;
  if (!found) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  Require(found && !status.message().empty(), where);
}

}  // namespace gnomon::fuzz
