#include <limits>

#include "pit/quantile_internal.h"
#include "pit/window_kernels_internal.h"

namespace gnomon::pit {

namespace {

/// Moves a state from window to window, by steps or afresh, whichever touches fewer events, and
/// calls emit(window) for each that is not empty. A state has Add(position), Remove(position),
/// Clear(begin, end), which takes the events it holds, and Reset() for events of another series.
template <typename State, typename Emit>
Status Slide(std::span<const Window> windows, State* state, const Emit& emit) {
  state->Reset();
  uint32_t begin = 0;
  uint32_t end = 0;
  for (const Window& window : windows) {
    if (window.begin == window.end) continue;
    const uint32_t steps = window.begin - begin + (window.end - end);
    if (window.begin >= end || window.end - window.begin < steps) {
      state->Clear(begin, end);
      begin = end = window.begin;
    }
    for (; end < window.end; ++end) state->Add(end);
    for (; begin < window.begin; ++begin) state->Remove(begin);
    GNOMON_RETURN_NOT_OK(emit(window));
  }
  return Status::OK();
}

/// For one window: goes on from what the state holds of the series when that is the window's end.
template <typename State, typename Emit>
Status Widen(const Window& window, Held* held, State* state, const Emit& emit) {
  if (window.begin == window.end) return Status::OK();
  if (!held->any || held->end != window.end || held->begin < window.begin) {
    state->Reset();
    *held = {.any = true, .begin = window.end, .end = window.end};
  }
  while (held->begin > window.begin) state->Add(--held->begin);
  return emit(window);
}

template <typename State, typename Emit>
Status SlideOrWiden(std::span<const Window> windows, Held* held, State* state, const Emit& emit) {
  if (windows.size() == 1) return Widen(windows.front(), held, state, emit);
  held->any = false;
  return Slide(windows, state, emit);
}

struct WholeSum {
  const Series& series;
  Int128 total = 0;

  void Add(uint32_t i) { total += WholeOfKey(series.kind, series.keys[i]); }
  void Remove(uint32_t i) { total -= WholeOfKey(series.kind, series.keys[i]); }
  void Clear(uint32_t /*begin*/, uint32_t /*end*/) { total = 0; }
  void Reset() { total = 0; }
};

struct RealSum {
  const Series& series;
  ExactSum& total;

  void Add(uint32_t i) { total.Add(RealOfKey(series.keys[i])); }
  void Remove(uint32_t i) { total.Subtract(RealOfKey(series.keys[i])); }
  void Clear(uint32_t /*begin*/, uint32_t /*end*/) { total.Clear(); }
  void Reset() { total.Clear(); }
};

template <KeyKind kKind>
struct Moments {
  const Series& series;
  ExactVariance& total;

  void Add(uint32_t i) {
    const int64_t key = series.keys[i];
    if constexpr (kKind == KeyKind::kReal) {
      total.Add(RealOfKey(key));
    } else {
      // The key of an unsigned value is the value less 2^63: variance does not see the shift.
      total.AddInteger(key);
    }
  }
  void Remove(uint32_t i) {
    const int64_t key = series.keys[i];
    if constexpr (kKind == KeyKind::kReal) {
      total.Subtract(RealOfKey(key));
    } else {
      total.SubtractInteger(key);
    }
  }
  void Clear(uint32_t /*begin*/, uint32_t /*end*/) { total.Clear(); }
  void Reset() { total.Clear(); }
};

template <typename Counts>
struct RankState {
  const Ranks& ranks;
  Counts* counts;

  void Add(uint32_t i) { counts->Add(ranks.rank_of[i]); }
  void Remove(uint32_t i) { counts->Remove(ranks.rank_of[i]); }
  void Clear(uint32_t begin, uint32_t end) {
    for (uint32_t i = begin; i < end; ++i) Remove(i);
  }
  void Reset() { counts->Reset(ranks.size()); }
};

/// What a kernel works on.
struct Task {
  const AggregateSpec& spec;
  Series& series;
  std::span<const Window> windows;
  WindowScratch& scratch;
  Output& output;

  Status EmitInteger(const Window& window, int64_t value) const {
    output.integers[window.label] = value;
    output.valid[window.label] = 1;
    return Status::OK();
  }
  Status EmitReal(const Window& window, double value) const {
    output.reals[window.label] = value;
    output.valid[window.label] = 1;
    return Status::OK();
  }
  Status EmitRow(const Window& window, uint32_t position) const {
    output.rows[window.label] = series.rows[position];
    output.valid[window.label] = 1;
    return Status::OK();
  }
  template <typename Counts>
  RankState<Counts> MakeRankState(Counts* counts) const {
    series.EnsureRanks();
    return {series.ranks, counts};
  }
};

Status Sum(const Task& task) {
  if (task.series.kind == KeyKind::kReal) {
    RealSum state{task.series, task.scratch.sum};
    return SlideOrWiden(task.windows, &task.scratch.held_by_sum, &state, [&](const Window& window) {
      return task.EmitReal(window, state.total.Round());
    });
  }
  WholeSum state{task.series};
  return Slide(task.windows, &state, [&](const Window& window) -> Status {
    const auto value = static_cast<int64_t>(state.total);
    if (value != state.total) {
      return WithHint(Error(ErrorKind::kUser, "sum of integers beyond 64 bits: value column ",
                            task.spec.column, ", label ", window.label),
                      "use mean, or cast the column to double");
    }
    return task.EmitInteger(window, value);
  });
}

Status Mean(const Task& task) {
  const auto count = [](const Window& window) {
    return static_cast<double>(window.end - window.begin);
  };
  if (task.series.kind == KeyKind::kReal) {
    RealSum state{task.series, task.scratch.sum};
    return SlideOrWiden(task.windows, &task.scratch.held_by_sum, &state, [&](const Window& window) {
      return task.EmitReal(window, state.total.Round() / count(window));
    });
  }
  WholeSum state{task.series};
  return Slide(task.windows, &state, [&](const Window& window) {
    return task.EmitReal(window, static_cast<double>(state.total) / count(window));
  });
}

template <KeyKind kKind>
Status Spread(const Task& task) {
  Moments<kKind> state{task.series, task.scratch.moments};
  const int64_t ddof = task.spec.ddof;
  const auto emit = [&](const Window& window) {
    if (state.total.count() <= ddof) return Status::OK();
    const bool root = task.spec.function == AggregateFunction::kStd;
    return task.EmitReal(window,
                         root ? state.total.StandardDeviation(ddof) : state.total.Variance(ddof));
  };
  return SlideOrWiden(task.windows, &task.scratch.held_by_moments, &state, emit);
}

/// The first position by `before` among those of each window: a deque of those that may yet become
/// it.
template <typename Before>
Status Extreme(const Task& task, const Before& before) {
  if (task.windows.size() == 1) {
    const Window& window = task.windows.front();
    if (window.begin == window.end) return Status::OK();
    uint32_t first = window.begin;
    for (uint32_t i = window.begin + 1; i < window.end; ++i) {
      if (!before(first, i)) first = i;
    }
    return task.EmitRow(window, first);
  }
  std::vector<uint32_t>& deque = task.scratch.deque;
  deque.clear();
  size_t head = 0;
  uint32_t next = 0;
  for (const Window& window : task.windows) {
    if (window.begin == window.end) continue;
    next = std::max(next, window.begin);
    while (head < deque.size() && deque[head] < window.begin) ++head;
    for (; next < window.end; ++next) {
      while (deque.size() > head && !before(deque.back(), next)) deque.pop_back();
      if (deque.size() == head) {
        deque.clear();
        head = 0;
      }
      deque.push_back(next);
    }
    GNOMON_RETURN_NOT_OK(task.EmitRow(window, deque[head]));
  }
  return Status::OK();
}

Status MinOrMax(const Task& task) {
  const bool is_min = task.spec.function == AggregateFunction::kMin;
  if (task.series.kind == KeyKind::kString) {
    const std::vector<std::string_view>& strings = task.series.strings;
    if (is_min)
      return Extreme(task, [&](uint32_t a, uint32_t b) { return strings[a] < strings[b]; });
    return Extreme(task, [&](uint32_t a, uint32_t b) { return strings[a] > strings[b]; });
  }
  const std::vector<int64_t>& keys = task.series.keys;
  if (is_min) return Extreme(task, [&](uint32_t a, uint32_t b) { return keys[a] < keys[b]; });
  if (task.series.kind != KeyKind::kReal) {
    return Extreme(task, [&](uint32_t a, uint32_t b) { return keys[a] > keys[b]; });
  }
  // NaN, the greatest key, comes last here.
  const auto key = [&](uint32_t i) {
    return keys[i] == kNanKey ? std::numeric_limits<int64_t>::min() : keys[i];
  };
  return Extreme(task, [&](uint32_t a, uint32_t b) { return key(a) > key(b); });
}

Status CountDistinct(const Task& task) {
  auto state = task.MakeRankState(&task.scratch.distinct);
  return SlideOrWiden(
      task.windows, &task.scratch.held_by_distinct, &state,
      [&](const Window& window) { return task.EmitInteger(window, state.counts->distinct()); });
}

Status MostFrequent(const Task& task) {
  auto state = task.MakeRankState(&task.scratch.frequency);
  const auto emit = [&](const Window& window) {
    return task.EmitRow(window, task.series.ranks.position_of[state.counts->MostFrequent()]);
  };
  return SlideOrWiden(task.windows, &task.scratch.held_by_frequency, &state, emit);
}

Status Quantile(const Task& task, double quantile) {
  auto state = task.MakeRankState(&task.scratch.order);
  const auto value = [&](uint32_t k) {
    const uint32_t position = task.series.ranks.position_of[state.counts->Kth(k)];
    return NumberOfKey(task.series.kind, task.series.keys[position]);
  };
  const auto emit = [&](const Window& window) {
    const uint32_t last = window.end - window.begin - 1;
    return task.EmitReal(window, InterpolateQuantile(quantile, last, value));
  };
  return SlideOrWiden(task.windows, &task.scratch.held_by_order, &state, emit);
}

Status Count(const Task& task) {
  for (const Window& window : task.windows) {
    GNOMON_RETURN_NOT_OK(task.EmitInteger(window, window.end - window.begin));
  }
  return Status::OK();
}

Status FirstOrLast(const Task& task) {
  const bool is_first = task.spec.function == AggregateFunction::kFirst;
  for (const Window& window : task.windows) {
    if (window.begin == window.end) continue;
    GNOMON_RETURN_NOT_OK(task.EmitRow(window, is_first ? window.begin : window.end - 1));
  }
  return Status::OK();
}

Status LastK(const Task& task, Pass pass) {
  for (const Window& window : task.windows) {
    if (window.begin == window.end) continue;
    const auto length =
        static_cast<uint32_t>(std::min<int64_t>(task.spec.k, window.end - window.begin));
    if (pass == Pass::kValuesAndLengths) {
      task.output.lengths[window.label] = length;
      task.output.valid[window.label] = 1;
      continue;
    }
    auto at = static_cast<size_t>(task.output.starts[window.label]);
    for (uint32_t i = 0; i < length; ++i)
      task.output.rows[at++] = task.series.rows[window.end - 1 - i];
  }
  return Status::OK();
}

}  // namespace

void WindowScratch::Forget() {
  for (Held* held :
       {&held_by_sum, &held_by_moments, &held_by_order, &held_by_distinct, &held_by_frequency})
    held->any = false;
}

void Series::Clear(KeyKind new_kind) {
  kind = new_kind;
  times.clear();
  rows.clear();
  keys.clear();
  strings.clear();
  ranked = false;
}

void Series::EnsureRanks() {
  if (ranked) return;
  ranked = true;
  if (kind == KeyKind::kString) {
    ranks.Assign<std::string_view>(strings);
  } else {
    ranks.Assign<int64_t>(keys);
  }
}

OutputKind OutputKindOf(AggregateFunction function, KeyKind kind) {
  switch (function) {
    case AggregateFunction::kCount:
    case AggregateFunction::kCountDistinct:
      return OutputKind::kInteger;
    case AggregateFunction::kSum:
      return kind == KeyKind::kReal ? OutputKind::kReal : OutputKind::kInteger;
    case AggregateFunction::kMean:
    case AggregateFunction::kStd:
    case AggregateFunction::kVar:
    case AggregateFunction::kMedian:
    case AggregateFunction::kQuantile:
      return OutputKind::kReal;
    case AggregateFunction::kMin:
    case AggregateFunction::kMax:
    case AggregateFunction::kFirst:
    case AggregateFunction::kLast:
    case AggregateFunction::kMostFrequent:
      return OutputKind::kRow;
    case AggregateFunction::kLastK:
      return OutputKind::kRowList;
    case AggregateFunction::kCustom:
      break;
  }
  return OutputKind::kRow;
}

Status EvaluateWindows(const AggregateSpec& spec, Series* series, std::span<const Window> windows,
                       Pass pass, WindowScratch* scratch, Output* output) {
  const Task task{spec, *series, windows, *scratch, *output};
  switch (spec.function) {
    case AggregateFunction::kCount:
      return Count(task);
    case AggregateFunction::kSum:
      return Sum(task);
    case AggregateFunction::kMean:
      return Mean(task);
    case AggregateFunction::kMin:
    case AggregateFunction::kMax:
      return MinOrMax(task);
    case AggregateFunction::kStd:
    case AggregateFunction::kVar:
      return series->kind == KeyKind::kReal ? Spread<KeyKind::kReal>(task)
                                            : Spread<KeyKind::kSigned>(task);
    case AggregateFunction::kCountDistinct:
      return CountDistinct(task);
    case AggregateFunction::kFirst:
    case AggregateFunction::kLast:
      return FirstOrLast(task);
    case AggregateFunction::kLastK:
      return LastK(task, pass);
    case AggregateFunction::kMedian:
      return Quantile(task, 0.5);
    case AggregateFunction::kQuantile:
      return Quantile(task, spec.quantile);
    case AggregateFunction::kMostFrequent:
      return MostFrequent(task);
    case AggregateFunction::kCustom:  // CustomWindows
      break;
  }
  return Status::OK();
}

}  // namespace gnomon::pit
