#include "model/metrics.h"

#include <cmath>
#include <vector>

#include <doctest/doctest.h>

namespace gnomon::model {
namespace {

using Values = std::vector<double>;

TEST_CASE("regression metrics equal values computed by hand") {
  // Errors -1, 0, 2, 1: squares 6, absolutes 4. Mean 2.5, deviations 2.25 + 0.25 + 0.25 + 2.25 = 5.
  const RegressionMetrics metrics = EvaluateRegression(Values{1, 2, 3, 4}, Values{2, 2, 1, 3});
  CHECK(metrics.mse == doctest::Approx(1.5));
  CHECK(metrics.mae == doctest::Approx(1.0));
  CHECK(metrics.r2 == doctest::Approx(1 - 6.0 / 5.0));
}

TEST_CASE("predicting the mean has an r2 of zero, predicting the truth of one") {
  CHECK(EvaluateRegression(Values{1, 2, 6}, Values{3, 3, 3}).r2 == doctest::Approx(0));
  CHECK(EvaluateRegression(Values{1, 2, 6}, Values{1, 2, 6}).r2 == 1);
}

TEST_CASE("a constant target has an r2 of one when it is hit and of zero when it is missed") {
  CHECK(EvaluateRegression(Values{2, 2}, Values{2, 2}).r2 == 1);
  CHECK(EvaluateRegression(Values{2, 2}, Values{2, 3}).r2 == 0);
}

TEST_CASE("classification metrics equal values computed by hand") {
  const ClassificationMetrics metrics =
      EvaluateClassification(Values{1, 0, 1, 0}, Values{0.9, 0.2, 0.4, 0.6});
  const double loss = -(std::log(0.9) + std::log(0.8) + std::log(0.4) + std::log(0.4)) / 4;
  CHECK(metrics.log_loss == doctest::Approx(loss));
  CHECK(metrics.accuracy == doctest::Approx(0.5));
  CHECK(metrics.auc ==
        doctest::Approx(0.75));  // of the four pairs only (0.4, 0.6) is in the wrong order
}

TEST_CASE("ties count half in the area under the curve") {
  // Pairs (positive, negative): 0.5-0.5 half, 0.5-0.1 one, 0.5-0.5 half, 0.5-0.1 one: 3 of 4.
  CHECK(EvaluateClassification(Values{1, 1, 0, 0}, Values{0.5, 0.5, 0.5, 0.1}).auc ==
        doctest::Approx(0.75));
  CHECK(EvaluateClassification(Values{1, 0, 1, 0, 0}, Values{0.3, 0.3, 0.3, 0.3, 0.3}).auc ==
        doctest::Approx(0.5));
}

TEST_CASE("the area under the curve is one half when there is one class only") {
  CHECK(EvaluateClassification(Values{1, 1}, Values{0.3, 0.7}).auc == 0.5);
  CHECK(EvaluateClassification(Values{0, 0}, Values{0.3, 0.7}).auc == 0.5);
}

TEST_CASE("a certain wrong answer costs a finite log loss") {
  const double loss = EvaluateClassification(Values{1, 0}, Values{0, 1}).log_loss;
  CHECK(std::isfinite(loss));
  CHECK(loss == doctest::Approx(-std::log(1e-15)).epsilon(0.01));
}

}  // namespace
}  // namespace gnomon::model
