#include "plugin/sdk.h"

#include <limits>
#include <memory>
#include <string>

#include <arrow/array.h>
#include <arrow/c/bridge.h>
#include <arrow/json/from_string.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "plugin/type_internal.h"
#include "tests/support/status.h"

namespace gnomon::sdk {
namespace {

using test::ValueOf;

template <typename T>
std::shared_ptr<arrow::Array> ArrayOf(Output<T> output) {
  ArrowArray raw = {};
  std::move(output).MoveTo(&raw);
  auto array = ValueOf(arrow::ImportArray(&raw, plugin::TypeOfFormat(internal::FormatOf<T>())));
  test::RequireOk(array->ValidateFull());
  return array;
}

template <typename T, typename Read>
void CheckRoundTrip(const std::vector<std::optional<T>>& values) {
  Output<T> output(static_cast<int64_t>(values.size()));
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i]) output.Set(static_cast<int64_t>(i), *values[i]);
  }
  const auto array = ArrayOf(std::move(output));
  for (int64_t skip = 0; skip <= array->length(); ++skip) {
    ArrowArray raw = {};
    test::RequireOk(arrow::ExportArray(*array->Slice(skip), &raw));
    const Column<Read> column(raw);
    REQUIRE(column.size() == array->length() - skip);
    for (int64_t i = 0; i < column.size(); ++i) {
      const auto& wanted = values[static_cast<size_t>(i + skip)];
      REQUIRE(column.is_valid(i) == wanted.has_value());
      if (wanted) CHECK(column[i] == *wanted);
    }
    raw.release(&raw);
  }
}

TEST_CASE("values of every type cross the border, also in slices") {
  CheckRoundTrip<double, double>({1.5, std::nullopt, -0.0, 3e300, std::nullopt});
  CheckRoundTrip<int64_t, int64_t>({1, std::numeric_limits<int64_t>::min(), std::nullopt});
  CheckRoundTrip<bool, bool>(
      {true, false, std::nullopt, true, true, false, true, true, false, true});
  CheckRoundTrip<std::string, std::string_view>(
      {"a", std::nullopt, "", "long enough for the heap"});
}

TEST_CASE("times cross the border as counts") {
  Output<Timestamp> times(2);
  times.Set(1, Timestamp{1'700'000'000'000'000});
  CHECK(ArrayOf(std::move(times))
            ->Equals(*ValueOf(arrow::json::ArrayFromJSONString(
                arrow::timestamp(arrow::TimeUnit::MICRO, "UTC"), "[null, 1700000000000000]"))));
  Output<Date> dates(1);
  dates.Set(0, Date{-1});
  CHECK(ArrayOf(std::move(dates))
            ->Equals(*ValueOf(arrow::json::ArrayFromJSONString(arrow::date32(), "[-1]"))));
}

TEST_CASE("an output without rows is an array") {
  CHECK(ArrayOf(Output<std::string>(0))->length() == 0);
  CHECK(ArrayOf(Output<bool>(0))->length() == 0);
}

TEST_CASE("no exception leaves a plug-in and long messages are cut") {
  GnomonError error = {};
  const auto kind_of = [&](auto thrown) {
    const int64_t row = 7;
    CHECK(internal::Guard(&error, &row, [&] { throw thrown; }) == 1);
    CHECK(error.row == 7);
    return error.kind;
  };
  CHECK(kind_of(std::invalid_argument("x")) == GNOMON_ERROR_USER);
  CHECK(kind_of(std::bad_alloc()) == GNOMON_ERROR_EXHAUSTED);
  CHECK(kind_of(std::runtime_error("x")) == GNOMON_ERROR_INTERNAL);
  CHECK(kind_of(42) == GNOMON_ERROR_INTERNAL);
  CHECK(kind_of(Error(ErrorKind::kNotFound, std::string(5000, 'x'))) == GNOMON_ERROR_NOT_FOUND);
  CHECK(std::string(error.message).size() == sizeof(error.message) - 1);
}

}  // namespace
}  // namespace gnomon::sdk
