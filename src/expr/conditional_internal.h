#pragma once

#include <string_view>
#include <vector>

#include "expr/program_internal.h"

/// The special forms, which evaluate their parts only for the rows that need them.
namespace gnomon::expr {

/// `parts` are booleans. From left to right, a part is evaluated for the rows that no part before
/// has decided.
BoundNodePtr MakeAnd(std::vector<BoundNodePtr> parts, std::string_view text, Span span);
BoundNodePtr MakeOr(std::vector<BoundNodePtr> parts, std::string_view text, Span span);

BoundNodePtr MakeIsNull(BoundNodePtr value, bool negated, std::string_view text, Span span);

/// `value` and `candidates` are of one type. Constant candidates are looked up in a sorted set; the
/// others are evaluated in order for the rows that have no match yet.
BoundNodePtr MakeIn(BoundNodePtr value, std::vector<BoundNodePtr> candidates, std::string_view text,
                    Span span);

/// The first part that is not null; a part is evaluated for the rows where those before are null.
BoundNodePtr MakeCoalesce(std::vector<BoundNodePtr> parts, Type type, std::string_view text,
                          Span span);

struct CaseBranch {
  BoundNodePtr when;  ///< a boolean; with an operand a value of the operand's type
  BoundNodePtr then;
};

/// `operand` and `otherwise` may be null.
BoundNodePtr MakeCase(BoundNodePtr operand, std::vector<CaseBranch> branches,
                      BoundNodePtr otherwise, Type type, std::string_view text, Span span);

}  // namespace gnomon::expr
