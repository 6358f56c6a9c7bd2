#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "pit/exact_sum.h"
#include "pit/exact_variance.h"
#include "pit/rank_counts_internal.h"
#include "pit/value_column_internal.h"
#include "pit/window.h"

namespace gnomon::pit {

/// The events of one entity that have a value in one column, oldest first.
struct Series {
  KeyKind kind = KeyKind::kNone;
  std::vector<int64_t> times;
  std::vector<uint32_t> rows;             ///< in the input
  std::vector<int64_t> keys;              ///< filled when a function asks for values
  std::vector<std::string_view> strings;  ///< instead of keys for KeyKind::kString
  Ranks ranks;                            ///< see EnsureRanks
  bool ranked = false;

  void Clear(KeyKind new_kind);
  void EnsureRanks();
};

/// The events of a label: positions [begin, end) of a series. Windows of one call never move
/// backwards.
struct Window {
  uint32_t begin = 0;
  uint32_t end = 0;
  uint32_t label = 0;
};

enum class OutputKind { kInteger, kReal, kRow, kRowList };
OutputKind OutputKindOf(AggregateFunction function, KeyKind kind);

/// One value per label; every label is written by one thread only. Rows are numbers of events,
/// gathered at the end.
struct Output {
  OutputKind kind = OutputKind::kInteger;
  bool nullable = true;  ///< counts are not
  std::vector<uint8_t> valid;
  std::vector<int64_t> integers;
  std::vector<double> reals;
  std::vector<uint32_t> rows;
  std::vector<uint32_t> lengths;  ///< kRowList
  std::vector<int64_t> starts;    ///< kRowList: into rows, set between the two passes
};

/// A list's rows can be placed only when the lengths of all lists are known.
enum class Pass { kValuesAndLengths, kLists };

/// The events of a series that a state holds.
struct Held {
  bool any = false;
  uint32_t begin = 0;
  uint32_t end = 0;
};

/// Sums, trees and deques that are reused from entity to entity. Where a series has one label, the
/// windows of all aggregates end there, so a state of a shorter window is widened for a longer one.
struct WindowScratch {
  ExactSum sum;
  Held held_by_sum;
  ExactVariance moments;
  Held held_by_moments;
  OrderCounts order;
  Held held_by_order;
  DistinctCounts distinct;
  Held held_by_distinct;
  FrequencyCounts frequency;
  Held held_by_frequency;
  std::vector<uint32_t> deque;

  /// Another series follows.
  void Forget();
};

/// Writes the value of every window's label. Empty windows are left as they are: null, or 0 for
/// counts.
Status EvaluateWindows(const AggregateSpec& spec, Series* series, std::span<const Window> windows,
                       Pass pass, WindowScratch* scratch, Output* output);

}  // namespace gnomon::pit
