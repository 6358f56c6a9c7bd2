#include "expr/function_internal.h"
#include "expr/kernel_internal.h"

namespace gnomon::expr {

namespace {

Status Not(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<uint8_t, uint8_t>(call, in[0], out,
                                  [](uint8_t a) { return static_cast<uint8_t>(a ^ 1); });
}

}  // namespace

FunctionFamily LogicFunctions() {
  return {
      .title = "Logic",
      .doc = "Three-valued: null stands for an unknown truth.",
      .functions = {
          {.name = "and",
           .signature = "a and b",
           .doc =
               "From left to right: where a is false the result is false, and b is not evaluated.",
           .example = "false and 1 // 0 > 1",
           .result = "false",
           .overloads = {},
           .gives = "bool"},
          {.name = "or",
           .signature = "a or b",
           .doc = "From left to right: where a is true the result is true, and b is not evaluated.",
           .example = "null or true",
           .result = "true",
           .overloads = {},
           .gives = "bool"},
          {.name = "not",
           .signature = "not a",
           .doc = "The contrary; null for null.",
           .example = "not 1 > 2",
           .result = "true",
           .overloads = {{{kBoolType}, kBoolType, Not}}},
      }};
}

}  // namespace gnomon::expr
