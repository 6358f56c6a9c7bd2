#include "dataset/distributed/stage_cutter_internal.h"

namespace gnomon::dataset::internal {

namespace {

// The aggregate of a column of partial results, if there is one that gives the same bits.
std::optional<pit::AggregateFunction> MergeOf(pit::AggregateFunction function) {
  using pit::AggregateFunction;
  switch (function) {
    case AggregateFunction::kCount:
      return AggregateFunction::kSum;
    case AggregateFunction::kMin:
    case AggregateFunction::kMax:
    case AggregateFunction::kFirst:
    case AggregateFunction::kLast:
      return function;
    default:
      return std::nullopt;
  }
}

}  // namespace

std::optional<AggregateSpec> MakePartial(AggregateSpec* spec) {
  AggregateSpec partial = *spec;
  for (const AggregateItem& item : spec->items) {
    if (!MergeOf(item.function).has_value()) return std::nullopt;
  }
  for (AggregateItem& item : spec->items) {
    item.function = *MergeOf(item.function);
    item.column = item.name;
  }
  return partial;
}

}  // namespace gnomon::dataset::internal
