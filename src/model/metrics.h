#pragma once

#include <span>

namespace gnomon::model {

/// All take equally long spans of at least one element.
struct RegressionMetrics {
  double mse = 0;
  double mae = 0;
  double r2 = 0;  ///< 1 - SSE/SST against the mean of `actual`; when that is 0/0 one, x/0 zero
};
RegressionMetrics EvaluateRegression(std::span<const double> actual,
                                     std::span<const double> predicted);

struct ClassificationMetrics {
  double log_loss = 0;  ///< natural logarithm; probabilities are clipped to [1e-15, 1-1e-15]
  double auc =
      0.5;  ///< area under the ROC curve, ties count half (Mann-Whitney); 0.5 with one class only
  double accuracy = 0;  ///< at 0.5
};
ClassificationMetrics EvaluateClassification(std::span<const double> actual,
                                             std::span<const double> probability);

}  // namespace gnomon::model
