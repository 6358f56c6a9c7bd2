#include <array>

#include <arrow/type.h>

#include "base/text.h"
#include "pit/custom_windows_internal.h"
#include "pit/value_column_internal.h"
#include "pit/window.h"

namespace gnomon::pit {

namespace {

struct Named {
  AggregateFunction function;
  const char* name;
};

constexpr std::array<Named, 14> kFunctions = {
    {{AggregateFunction::kCount, "count"},
     {AggregateFunction::kSum, "sum"},
     {AggregateFunction::kMean, "mean"},
     {AggregateFunction::kMin, "min"},
     {AggregateFunction::kMax, "max"},
     {AggregateFunction::kStd, "std"},
     {AggregateFunction::kVar, "var"},
     {AggregateFunction::kCountDistinct, "count_distinct"},
     {AggregateFunction::kFirst, "first"},
     {AggregateFunction::kLast, "last"},
     {AggregateFunction::kLastK, "last_k"},
     {AggregateFunction::kMedian, "median"},
     {AggregateFunction::kQuantile, "quantile"},
     {AggregateFunction::kMostFrequent, "most_frequent"}}};

Status CheckParameters(const AggregateSpec& spec) {
  const char* name = NameOf(spec.function);
  if (spec.window && *spec.window <= 0) {
    return Error(ErrorKind::kUser, "the window of ", name, " must be above 0: ", *spec.window);
  }
  if (spec.function == AggregateFunction::kLastK && spec.k <= 0) {
    return Error(ErrorKind::kUser, "k of last_k must be above 0: ", spec.k);
  }
  if (spec.function == AggregateFunction::kQuantile &&
      !(spec.quantile >= 0 && spec.quantile <= 1)) {
    return Error(ErrorKind::kUser, "a quantile must be in [0, 1]: ", spec.quantile);
  }
  if (spec.ddof < 0)
    return Error(ErrorKind::kUser, "ddof of ", name, " must not be negative: ", spec.ddof);
  if (spec.function == AggregateFunction::kCustom && spec.custom == nullptr)
    return Error(ErrorKind::kInternal, "a custom aggregate without its code");
  if (spec.ticks_per_micro <= 0)
    return Error(ErrorKind::kInternal, "no units in a microsecond: ", spec.ticks_per_micro);
  return Status::OK();
}

}  // namespace

Result<AggregateFunction> ParseAggregateFunction(std::string_view name) {
  if (name == "avg") return AggregateFunction::kMean;
  std::vector<std::string> names;
  for (const Named& named : kFunctions) {
    if (name == named.name) return named.function;
    names.emplace_back(named.name);
  }
  std::string hint = DidYouMean(name, names);
  if (hint.empty()) hint = Concat("known are ", Join(names, ", "));
  return MakeError(ErrorKind::kUser, Concat("unknown aggregate function: ", Quoted(name)), {},
                   hint);
}

const char* NameOf(AggregateFunction function) {
  for (const Named& named : kFunctions) {
    if (named.function == function) return named.name;
  }
  return function == AggregateFunction::kCustom ? "custom" : "unknown";
}

Result<std::shared_ptr<arrow::DataType>> ResultType(const AggregateSpec& spec,
                                                    const arrow::DataType& input) {
  GNOMON_RETURN_NOT_OK(CheckParameters(spec));
  const KeyKind kind = KeyKindOf(input);
  const bool numeric = IsNumeric(input);
  const auto refuse = [&]() -> Status {
    const bool custom = spec.function == AggregateFunction::kCustom;
    return Error(ErrorKind::kUser, custom ? spec.custom->name() : NameOf(spec.function),
                 " does not take values of type ", input.ToString());
  };
  // The caller holds the type by reference; types are shared.
  const std::shared_ptr<arrow::DataType> own = input.GetSharedPtr();
  switch (spec.function) {
    case AggregateFunction::kCount:
      return arrow::int64();
    case AggregateFunction::kFirst:
    case AggregateFunction::kLast:
      return own;
    case AggregateFunction::kLastK:
      return arrow::list(own);
    case AggregateFunction::kSum:
      if (!numeric) return refuse();
      return kind == KeyKind::kReal ? arrow::float64() : arrow::int64();
    case AggregateFunction::kMean:
    case AggregateFunction::kStd:
    case AggregateFunction::kVar:
    case AggregateFunction::kMedian:
    case AggregateFunction::kQuantile:
      if (!numeric) return refuse();
      return arrow::float64();
    case AggregateFunction::kCountDistinct:
      if (kind == KeyKind::kNone) return refuse();
      return arrow::int64();
    case AggregateFunction::kMin:
    case AggregateFunction::kMax:
    case AggregateFunction::kMostFrequent:
      if (kind == KeyKind::kNone) return refuse();
      return own;
    case AggregateFunction::kCustom:
      if (!IsInputOf(*spec.custom, input)) return refuse();
      return spec.custom->result();
  }
  return refuse();
}

}  // namespace gnomon::pit
