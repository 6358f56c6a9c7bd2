#include "demo/sales_data.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/time.h"
#include "demo/random.h"

namespace gnomon::demo {
namespace {

constexpr int64_t kWeek = 7 * kMicrosPerDay;
constexpr int64_t kHour = 3600 * kMicrosPerSecond;
constexpr double kWeeksOfYear = 52;

/// Weeks of the year with a holiday.
constexpr std::array<int64_t, 4> kHolidayWeeks = {5, 35, 46, 51};

bool IsHoliday(int64_t week) {
  return std::ranges::find(kHolidayWeeks, week % 52) != kHolidayWeeks.end();
}

double Rounded(double value, double steps) { return std::round(value * steps) / steps; }

/// What a store's surroundings are like in one week.
struct Conditions {
  double temperature;
  double fuel_price;
  double cpi;
  double unemployment;
};

/// [store * weeks + week]. Slow walks that return to their mean.
std::vector<Conditions> MakeConditions(const SalesOptions& options, Random& random) {
  std::vector<Conditions> all;
  for (int64_t store = 0; store < options.stores; ++store) {
    const double warmth = 55 + 8 * random.Normal();
    double fuel = 3.3 + 0.2 * random.Normal();
    double cpi = 200 + 10 * random.Normal();
    double unemployment = 7 + random.Normal();
    for (int64_t week = 0; week < options.weeks; ++week) {
      const double angle = 2 * std::numbers::pi * (static_cast<double>(week) - 13) / kWeeksOfYear;
      fuel += 0.05 * (3.3 - fuel) + 0.06 * random.Normal();
      cpi += 0.1 + 0.05 * random.Normal();
      unemployment += 0.02 * (7 - unemployment) + 0.05 * random.Normal();
      all.push_back(
          {.temperature = Rounded(warmth + 22 * std::sin(angle) + 4 * random.Normal(), 100),
           .fuel_price = Rounded(fuel, 1000),
           .cpi = Rounded(cpi, 10000),
           .unemployment = Rounded(unemployment, 1000)});
    }
  }
  return all;
}

struct Department {
  double level;
  double season;  ///< amplitude
  double phase;
  double holiday;  ///< uplift
  double price;    ///< elasticity to the fuel price
};

std::vector<Department> MakeDepartments(int64_t count, Random& random) {
  std::vector<Department> all;
  for (int64_t i = 0; i < count; ++i) {
    all.push_back({.level = std::exp(0.8 * random.Normal()),
                   .season = 0.25 * random.Uniform(),
                   .phase = 2 * std::numbers::pi * random.Uniform(),
                   .holiday = 0.10 + 0.30 * random.Uniform(),
                   .price = -0.6 * random.Uniform()});
  }
  return all;
}

}  // namespace

Result<SalesData> GenerateSales(const Context& context, const SalesOptions& options) {
  if (options.stores < 1 || options.departments < 1 || options.weeks < 1) {
    return Error(ErrorKind::kUser, "stores, departments and weeks must be at least 1");
  }
  Random random(options.seed);
  const std::vector<Conditions> conditions = MakeConditions(options, random);
  const std::vector<Department> departments = MakeDepartments(options.departments, random);
  const int64_t rows = options.stores * options.departments * options.weeks;

  arrow::Int64Builder store_column, dept_column;
  arrow::Date32Builder date_column;
  arrow::DoubleBuilder sales_column, temperature_column, fuel_column, cpi_column,
      unemployment_column;
  arrow::BooleanBuilder holiday_column;
  const auto instant = arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
  arrow::TimestampBuilder event_column(instant, arrow::default_memory_pool());
  arrow::TimestampBuilder created_column(instant, arrow::default_memory_pool());
  arrow::TimestampBuilder label_time_column(instant, arrow::default_memory_pool());
  for (arrow::ArrayBuilder* builder : std::initializer_list<arrow::ArrayBuilder*>{
           &store_column, &dept_column, &date_column, &sales_column, &temperature_column,
           &fuel_column, &cpi_column, &unemployment_column, &holiday_column, &event_column,
           &created_column, &label_time_column}) {
    GNOMON_RETURN_NOT_OK(builder->Reserve(rows));
  }

  SalesData data;
  data.mean.reserve(static_cast<size_t>(rows));
  for (int64_t store = 0; store < options.stores; ++store) {
    GNOMON_RETURN_NOT_OK(context.Check());
    const double store_level = std::exp(9 + 0.5 * random.Normal());
    for (int64_t dept = 0; dept < options.departments; ++dept) {
      const Department& department = departments[static_cast<size_t>(dept)];
      const double level = store_level * department.level * std::exp(0.2 * random.Normal());
      for (int64_t week = 0; week < options.weeks; ++week) {
        const Conditions& now = conditions[static_cast<size_t>(store * options.weeks + week)];
        const double angle =
            2 * std::numbers::pi * static_cast<double>(week) / kWeeksOfYear + department.phase;
        double mean = level * (1 + department.season * std::sin(angle));
        if (IsHoliday(week)) mean *= 1 + department.holiday;
        mean *= std::exp(department.price * (now.fuel_price - 3.3));
        // The noise has mean one, so that `mean` is the expectation.
        const double noise =
            std::exp(options.noise * random.Normal() - options.noise * options.noise / 2);
        const int64_t date = kFirstWeek + week * kWeek;
        data.mean.push_back(mean);
        store_column.UnsafeAppend(store + 1);
        dept_column.UnsafeAppend(dept + 1);
        date_column.UnsafeAppend(static_cast<int32_t>(date / kMicrosPerDay));
        sales_column.UnsafeAppend(Rounded(mean * noise, 100));
        holiday_column.UnsafeAppend(IsHoliday(week));
        temperature_column.UnsafeAppend(now.temperature);
        fuel_column.UnsafeAppend(now.fuel_price);
        cpi_column.UnsafeAppend(now.cpi);
        unemployment_column.UnsafeAppend(now.unemployment);
        event_column.UnsafeAppend(date + kWeek);
        created_column.UnsafeAppend(date + kWeek + kHour);
        label_time_column.UnsafeAppend(date);
      }
    }
  }
  data.end = kFirstWeek + options.weeks * kWeek;

  arrow::ArrayVector columns;
  for (arrow::ArrayBuilder* builder : std::initializer_list<arrow::ArrayBuilder*>{
           &store_column, &dept_column, &date_column, &sales_column, &holiday_column,
           &temperature_column, &fuel_column, &cpi_column, &unemployment_column, &event_column,
           &created_column}) {
    GNOMON_ASSIGN_OR_RETURN(auto column, builder->Finish());
    columns.push_back(std::move(column));
  }
  GNOMON_ASSIGN_OR_RETURN(auto label_times, label_time_column.Finish());
  data.labels = arrow::Table::Make(
      arrow::schema({arrow::field("store", arrow::int64()), arrow::field("dept", arrow::int64()),
                     arrow::field("event_timestamp", instant),
                     arrow::field("weekly_sales", arrow::float64())}),
      arrow::ArrayVector{columns[0], columns[1], label_times, columns[3]}, rows);
  data.sales = arrow::Table::Make(
      arrow::schema(
          {arrow::field("store", arrow::int64()), arrow::field("dept", arrow::int64()),
           arrow::field("date", arrow::date32()), arrow::field("weekly_sales", arrow::float64()),
           arrow::field("is_holiday", arrow::boolean()),
           arrow::field("temperature", arrow::float64()),
           arrow::field("fuel_price", arrow::float64()), arrow::field("cpi", arrow::float64()),
           arrow::field("unemployment", arrow::float64()), arrow::field("event_timestamp", instant),
           arrow::field("created", instant)}),
      std::move(columns), rows);
  return data;
}

}  // namespace gnomon::demo
