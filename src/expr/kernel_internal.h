#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "expr/program_internal.h"

/// Loops that kernels are made of. In each, an argument may be constant; the loops are instantiated
/// apart so that the compiler vectorises them.
namespace gnomon::expr {

/// out[i] = function(a[i]) for every row, live or not: for functions that cannot fail and cost
/// little.
template <typename Out, typename A, typename Function>
Status MapAll(const Call& call, const Vector& a, Vector* out, Function function) {
  const int64_t count = call.rows.count;
  auto values = NewValues<Out>(count);
  Out* const to = values.get();
  const A* const from = a.data<A>();
  for (int64_t i = 0; i < count; ++i) to[i] = function(from[i]);
  out->values = std::move(values);
  return Status::OK();
}

template <typename Out, typename A, typename B, typename Function>
Status MapAll(const Call& call, const Vector& a, const Vector& b, Vector* out, Function function) {
  const int64_t count = call.rows.count;
  auto values = NewValues<Out>(count);
  Out* const to = values.get();
  const A* const left = a.data<A>();
  const B* const right = b.data<B>();
  if (a.constant && !b.constant) {
    const A fixed = left[0];
    for (int64_t i = 0; i < count; ++i) to[i] = function(fixed, right[i]);
  } else if (b.constant && !a.constant) {
    const B fixed = right[0];
    for (int64_t i = 0; i < count; ++i) to[i] = function(left[i], fixed);
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = function(left[i], right[i]);
  }
  out->values = std::move(values);
  return Status::OK();
}

/// The first live row for which `fails` is true, or -1.
template <typename Fails>
int64_t FirstLive(const Call& call, Fails fails) {
  for (int64_t i = 0; i < call.rows.count; ++i) {
    if (call.IsLive(i) && fails(i)) return i;
  }
  return -1;
}

/// As MapAll with function(a, &out), which returns true when it failed. Runs over all rows at full
/// speed and looks for a live culprit only when some row failed.
template <typename Out, typename A, typename Function>
Status MapChecked(const Call& call, const Vector& a, Vector* out, std::string_view problem,
                  Function function) {
  bool failed = false;
  GNOMON_RETURN_NOT_OK((MapAll<Out, A>(call, a, out, [&](A value) {
    Out result{};
    failed |= function(value, &result);
    return result;
  })));
  if (!failed) return Status::OK();
  Out ignored{};
  const int64_t row = FirstLive(call, [&](int64_t i) { return function(a.At<A>(i), &ignored); });
  return row < 0 ? Status::OK() : call.Fail(row, problem);
}

template <typename Out, typename A, typename B, typename Function>
Status MapChecked(const Call& call, const Vector& a, const Vector& b, Vector* out,
                  std::string_view problem, Function function) {
  bool failed = false;
  GNOMON_RETURN_NOT_OK((MapAll<Out, A, B>(call, a, b, out, [&](A left, B right) {
    Out result{};
    failed |= function(left, right, &result);
    return result;
  })));
  if (!failed) return Status::OK();
  Out ignored{};
  const int64_t row =
      FirstLive(call, [&](int64_t i) { return function(a.At<A>(i), b.At<B>(i), &ignored); });
  return row < 0 ? Status::OK() : call.Fail(row, problem);
}

/// function(row, &out) for live rows only: for functions that cost much or need several arguments.
/// The function returns a Status; other rows get a zero.
template <typename Out, typename Function>
Status MapLive(const Call& call, Vector* out, Function function) {
  const int64_t count = call.rows.count;
  auto values = NewZeros<Out>(count);
  for (int64_t i = 0; i < count; ++i) {
    if (call.IsLive(i)) GNOMON_RETURN_NOT_OK(function(i, &values[i]));
  }
  out->values = std::move(values);
  return Status::OK();
}

}  // namespace gnomon::expr
