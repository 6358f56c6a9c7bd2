#include "serve/predictor.h"

#include <bit>

#include <arrow/array.h>
#include <doctest/doctest.h>

#include "base/text.h"
#include "serve/driver_model_test.h"

namespace gnomon::serve {
namespace {

using test::ErrorOf;
using test::ValueOf;

/// A repository, its model, and the predictor on both.
struct Fixture {
  DriverModel drivers;
  std::shared_ptr<const Predictor> predictor =
      ValueOf(Predictor::Make(*drivers.store, drivers.MakeModel()));

  Result<std::vector<double>> Predict(std::string_view rows,
                                      std::optional<int64_t> as_of = {}) const {
    return predictor->Predict(drivers.context, *DriverModel::Instances(rows), as_of);
  }
};

uint64_t BitsOf(double value) { return std::bit_cast<uint64_t>(value); }

}  // namespace

TEST_CASE("a predictor asks for join keys and request data") {
  const Fixture fixture;
  const auto inputs = fixture.predictor->Inputs();
  REQUIRE(inputs.size() == 2);
  CHECK(inputs[0].name == "driver_id");
  CHECK(inputs[0].dtype.ToString() == "Int64");
  CHECK(inputs[1].name == "hours");
  CHECK(inputs[1].dtype.ToString() == "Float64");
}

TEST_CASE("a batch gives what its rows give one by one, bit for bit") {
  const Fixture fixture;
  std::vector<std::string> rows;
  for (int i = 0; i < 67; ++i) rows.push_back(Concat('[', i % 3 + 1, ", ", 1 + i * 0.37, ']'));
  const auto batch = ValueOf(fixture.Predict(Concat('[', Join(rows, ","), ']')));
  REQUIRE(batch.size() == rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    CAPTURE(rows[i]);
    const auto one = ValueOf(fixture.Predict(Concat('[', rows[i], ']')));
    REQUIRE(one.size() == 1);
    CHECK(BitsOf(one[0]) == BitsOf(batch[i]));
  }
}

TEST_CASE("an online prediction equals the historical one at the same time, bit for bit") {
  const Fixture fixture;
  const auto online = ValueOf(fixture.Predict("[[1, 8], [2, 7.5], [3, 2]]"));
  const auto rows =
      test::TableOf({{"driver_id", arrow::int64()},
                     {"hours", arrow::float64()},
                     {"event_timestamp", arrow::timestamp(arrow::TimeUnit::MICRO, "UTC")}},
                    R"([[1, 8, "2026-01-02 11:00:00"], [2, 7.5, "2026-01-02 11:00:00"],
                        [3, 2, "2026-01-02 11:00:00"]])");
  const auto historical =
      ValueOf(fixture.predictor->PredictHistorical(fixture.drivers.context, rows));
  REQUIRE(online.size() == 3);
  REQUIRE(historical.size() == 3);
  for (size_t i = 0; i < 3; ++i) CHECK(BitsOf(online[i]) == BitsOf(historical[i]));
  CHECK(online[0] != online[1]);
}

TEST_CASE("request data and the time of the read change a prediction") {
  const Fixture fixture;
  const auto now = ValueOf(fixture.Predict("[[1, 8]]"));
  CHECK(ValueOf(fixture.Predict("[[1, 4]]")) != now);
  const int64_t month_later = fixture.drivers.clock.NowMicros() + 30 * kMicrosPerDay;
  const auto later = ValueOf(fixture.Predict("[[1, 8]]", month_later));
  CHECK(later != now);
  // As of the clock when no instant is given.
  FakeClock clock(month_later);
  Context context;
  context.clock = &clock;
  CHECK(ValueOf(fixture.predictor->Predict(context, *DriverModel::Instances("[[1, 8]]"), {})) ==
        later);
}

TEST_CASE("an entity that no view has is not found, and its key and row are named") {
  const Fixture fixture;
  const Status error = ErrorOf(fixture.Predict("[[1, 8], [77, 8]]"));
  CHECK_ERROR(error, ErrorKind::kNotFound, "driver_id=77");
  CHECK(LocationOf(error).row == 1);
  CHECK_FALSE(HintOf(error).empty());
}

TEST_CASE("an entity whose rows have expired is known: its features are nulls") {
  const Fixture fixture;
  const int64_t years_later = fixture.drivers.clock.NowMicros() + 1000 * kMicrosPerDay;
  CHECK(ValueOf(fixture.Predict("[[1, 8], [2, 8]]", years_later)).size() == 2);
}

TEST_CASE("a missing column is an error that names it") {
  const Fixture fixture;
  const auto no_hours =
      ValueOf(table::SingleBatch(*test::TableOf({{"driver_id", arrow::int64()}}, "[[1]]")));
  CHECK_ERROR(fixture.predictor->Predict(fixture.drivers.context, *no_hours, {}), ErrorKind::kUser,
              "hours");
  const auto no_key =
      ValueOf(table::SingleBatch(*test::TableOf({{"hours", arrow::float64()}}, "[[1]]")));
  CHECK_ERROR(fixture.predictor->Predict(fixture.drivers.context, *no_key, {}), ErrorKind::kUser,
              "driver_id");
}

TEST_CASE("a stopped request ends as cancelled") {
  const Fixture fixture;
  std::stop_source stop;
  stop.request_stop();
  const Context stopped = fixture.drivers.context.WithStop(stop.get_token());
  CHECK_ERROR(fixture.predictor->Predict(stopped, *DriverModel::Instances("[[1, 8]]"), {}),
              ErrorKind::kCancelled, "");
}

TEST_CASE("a model whose feature service has changed since is refused") {
  const Fixture fixture;
  const DriverModel& drivers = fixture.drivers;
  auto definitions = ValueOf(drivers.store->LoadRepository());
  const auto model = drivers.MakeModel();
  definitions.on_demand_feature_views[0].expressions[0].expression = "trips / hours + 1";
  test::RequireOk(drivers.store->Apply(drivers.context, definitions).status());
  const Status error = ErrorOf(Predictor::Make(*drivers.store, model));
  CHECK_ERROR(error, ErrorKind::kConflict, "model 'driver-model'");
  CHECK(HintOf(error).find("train again") != std::string::npos);
}

TEST_CASE("a model whose feature service is gone is refused") {
  const Fixture fixture;
  const DriverModel& drivers = fixture.drivers;
  auto definitions = ValueOf(drivers.store->LoadRepository());
  const auto model = drivers.MakeModel();
  definitions.feature_services.clear();
  test::RequireOk(drivers.store->Apply(drivers.context, definitions).status());
  CHECK_ERROR(Predictor::Make(*drivers.store, model), ErrorKind::kNotFound, "driver_service");
}

}  // namespace gnomon::serve
