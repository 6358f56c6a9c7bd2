#include "model/metrics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

#include "base/error.h"

namespace gnomon::model {

namespace {

// Mann-Whitney: the mean rank of the positives, where equal scores share the mean of their ranks.
double AreaUnderCurve(std::span<const double> actual, std::span<const double> score) {
  std::vector<size_t> order(score.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, {}, [&](size_t row) { return score[row]; });
  double positives = 0;
  double rank_sum = 0;
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin;
    double tied_positives = 0;
    for (; end < order.size() && score[order[end]] == score[order[begin]]; ++end) {
      if (actual[order[end]] > 0.5) ++tied_positives;
    }
    if (end == begin) return std::nan("");  // a score that is not a number
    const double mean_rank = (static_cast<double>(begin + 1) + static_cast<double>(end)) / 2;
    positives += tied_positives;
    rank_sum += tied_positives * mean_rank;
    begin = end;
  }
  const double negatives = static_cast<double>(score.size()) - positives;
  if (positives == 0 || negatives == 0) return 0.5;
  return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives);
}

}  // namespace

RegressionMetrics EvaluateRegression(std::span<const double> actual,
                                     std::span<const double> predicted) {
  GNOMON_CHECK(!actual.empty() && actual.size() == predicted.size());
  const auto count = static_cast<double>(actual.size());
  const double mean = std::accumulate(actual.begin(), actual.end(), 0.0) / count;
  double squared_errors = 0;
  double absolute_errors = 0;
  double squared_deviations = 0;
  for (size_t row = 0; row < actual.size(); ++row) {
    const double error = actual[row] - predicted[row];
    squared_errors += error * error;
    absolute_errors += std::abs(error);
    squared_deviations += (actual[row] - mean) * (actual[row] - mean);
  }
  RegressionMetrics metrics{.mse = squared_errors / count, .mae = absolute_errors / count, .r2 = 0};
  if (squared_deviations > 0) {
    metrics.r2 = 1 - squared_errors / squared_deviations;
  } else {
    metrics.r2 = squared_errors == 0 ? 1 : 0;
  }
  return metrics;
}

ClassificationMetrics EvaluateClassification(std::span<const double> actual,
                                             std::span<const double> probability) {
  GNOMON_CHECK(!actual.empty() && actual.size() == probability.size());
  constexpr double kClip = 1e-15;
  const auto count = static_cast<double>(actual.size());
  double loss = 0;
  double right = 0;
  for (size_t row = 0; row < actual.size(); ++row) {
    const bool positive = actual[row] > 0.5;
    const double p = std::clamp(probability[row], kClip, 1 - kClip);
    loss -= positive ? std::log(p) : std::log1p(-p);
    if ((probability[row] >= 0.5) == positive) ++right;
  }
  return {.log_loss = loss / count,
          .auc = AreaUnderCurve(actual, probability),
          .accuracy = right / count};
}

}  // namespace gnomon::model
