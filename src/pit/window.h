#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "pit/custom_aggregate.h"

/// Window aggregates, exact at every label's own time: a window w at t covers the rows with t - w <
/// ts <= t. The same code answers offline labels and online reads, so that both give the same bits.
namespace gnomon::pit {

enum class AggregateFunction {
  kCount,
  kSum,
  kMean,
  kMin,
  kMax,
  kStd,
  kVar,
  kCountDistinct,
  kFirst,
  kLast,
  kLastK,
  kMedian,
  kQuantile,
  kMostFrequent,
  kCustom  ///< AggregateSpec::custom
};

/// Feast's names: count sum mean (avg) min max std var count_distinct first last last_k median
/// quantile most_frequent.
Result<AggregateFunction> ParseAggregateFunction(std::string_view name);
const char* NameOf(AggregateFunction function);

struct AggregateSpec {
  AggregateFunction function = AggregateFunction::kCount;
  /// Index into the value columns.
  int column = 0;
  /// Window length in the unit of the event times, above 0; absent: the whole past (lifetime).
  std::optional<int64_t> window = {};
  int64_t k = 1;          ///< last_k: how many, above 0
  double quantile = 0.5;  ///< quantile: in [0, 1], linear interpolation
  int ddof = 1;  ///< std, var: delta degrees of freedom, not negative; null where the count is not
                 ///< above it
  std::shared_ptr<const CustomAggregate> custom = nullptr;  ///< kCustom: which
  /// kCustom: units of the event times in a microsecond, so that tiles are the same in every unit.
  int64_t ticks_per_micro = 1;
};

/// The result's type: count, count_distinct int64; sum int64 for integers and booleans (overflow is
/// kUser), double for floats; mean, std, var, median, quantile double; min, max, first, last,
/// most_frequent the input's; last_k list of it (newest first); a custom one its own. kUser when
/// the function does not take the type: count, first, last and last_k take every type; sum, mean,
/// std, var, median and quantile take integers, booleans, float and double; the others take these,
/// dates, times, timestamps, durations, strings and binaries.
Result<std::shared_ptr<arrow::DataType>> ResultType(const AggregateSpec& spec,
                                                    const arrow::DataType& input);

/// Events of many entities, any order. Null values are skipped by every function; an event with a
/// negative id never counts. Ties in time are ordered by created, then input order (what first,
/// last and last_k see).
struct Events {
  std::span<const int32_t> ids;
  std::span<const int64_t> times;
  std::span<const int64_t> created;                    ///< empty: none; INT64_MIN stands for a null
  std::vector<std::shared_ptr<arrow::Array>> columns;  ///< value columns, one chunk each
};

/// For each label (entity, time) the value of each spec, in label order: one array per spec. An
/// empty window gives null, count and count_distinct give 0; a negative label id (null key) gives
/// null, or 0 for counts. `filter_by_created`: events created after the label's time do not exist
/// for it.
///
/// Floats: NaN is a value. It makes sum, mean, std, var, median and quantile NaN; min and max pass
/// over it unless there is nothing else; count_distinct and most_frequent take all NaN for one
/// value, greater than any other. -0.0 and +0.0 are one value, +0.0, except to first, last and
/// last_k. most_frequent gives the smallest of equally frequent values. A sum is rounded once; mean
/// divides it by the count; var and std are within 2 ulp of exact. No result depends on the order
/// of the events (but for full ties in first, last, last_k), on the other labels or on the number
/// of threads.
///
/// Sorts the events of each entity that a label asks for; sums slide with an exact accumulator, min
/// and max with a monotonic deque, distinct values and quantiles with counts by rank: O(events log
/// + labels * small). With `filter_by_created` every label looks at its own events: O(labels *
/// events of its longest window).
Result<std::vector<std::shared_ptr<arrow::Array>>> AggregateWindows(
    const Context& context, const Events& events, std::span<const int32_t> label_ids,
    std::span<const int64_t> label_times, std::span<const AggregateSpec> specs,
    bool filter_by_created = false);

}  // namespace gnomon::pit
