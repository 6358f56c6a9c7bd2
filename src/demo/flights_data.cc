#include "demo/flights_data.h"

#include <chrono>
#include <filesystem>
#include <map>
#include <utility>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/scalar.h>
#include <arrow/table.h>

#include "base/text.h"
#include "base/time.h"
#include "table/column.h"
#include "table/file.h"

namespace gnomon::demo {
namespace {

constexpr int64_t kMinute = 60 * kMicrosPerSecond;
/// The registers as they stood before the year of the flights.
constexpr int64_t kRegistered = 1'356'912'000'000'000;  // 2012-12-31T00:00:00Z
constexpr double kLateMinutes = 15;
constexpr int64_t kMinutesPerDay = 24 * 60;

std::shared_ptr<arrow::DataType> Instant() {
  return arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
}

Result<std::shared_ptr<arrow::Table>> ReadCsv(const Context& context, const std::string& folder,
                                              const std::string& name) {
  const std::string path = (std::filesystem::path(folder) / name).string();
  auto table = table::ReadTable(context, path);
  if (!table.ok() && KindOf(table.status()) == ErrorKind::kNotFound) {
    return WithHint(table.status(),
                    "get the data with: make setup (or name its folder with --data)");
  }
  return table;
}

Result<std::shared_ptr<arrow::Array>> Column(const arrow::Table& table, const std::string& name) {
  auto column = table.GetColumnByName(name);
  if (column == nullptr)
    return Error(ErrorKind::kUser, "the flights data has no column ", Quoted(name));
  return table::SingleChunk(*column);
}

/// Numbers of any type as doubles; "NA" is null.
Result<std::shared_ptr<arrow::DoubleArray>> Doubles(const arrow::Table& table,
                                                    const std::string& name) {
  GNOMON_ASSIGN_OR_RETURN(auto column, Column(table, name));
  GNOMON_ASSIGN_OR_RETURN(auto cast, table::CastLossless(column, arrow::float64()));
  return std::static_pointer_cast<arrow::DoubleArray>(cast);
}

/// ISO weekday of a local calendar day: Monday 1 to Sunday 7.
int64_t Weekday(double year, double month, double day) {
  using namespace std::chrono;
  const year_month_day date{std::chrono::year(static_cast<int>(year)),
                            std::chrono::month(static_cast<unsigned>(month)),
                            std::chrono::day(static_cast<unsigned>(day))};
  return static_cast<int64_t>(weekday(sys_days(date)).iso_encoding());
}

Result<std::shared_ptr<arrow::Array>> Repeated(int64_t micros, int64_t count) {
  arrow::TimestampBuilder builder(Instant(), arrow::default_memory_pool());
  for (int64_t i = 0; i < count; ++i) GNOMON_RETURN_NOT_OK(builder.Append(micros));
  return builder.Finish();
}

/// Columns of `table` under new names, and `registered`.
Result<std::shared_ptr<arrow::Table>> Register(
    const arrow::Table& table, const std::vector<std::pair<std::string, std::string>>& names) {
  arrow::FieldVector fields;
  arrow::ArrayVector columns;
  for (const auto& [from, to] : names) {
    GNOMON_ASSIGN_OR_RETURN(auto column, Column(table, from));
    fields.push_back(arrow::field(to, column->type()));
    columns.push_back(std::move(column));
  }
  GNOMON_ASSIGN_OR_RETURN(auto registered, Repeated(kRegistered, table.num_rows()));
  fields.push_back(arrow::field("registered", Instant()));
  columns.push_back(std::move(registered));
  return arrow::Table::Make(arrow::schema(std::move(fields)), std::move(columns), table.num_rows());
}

Status MakeFlights(const arrow::Table& raw, FlightsData* data) {
  GNOMON_ASSIGN_OR_RETURN(auto hours, Column(raw, "time_hour"));
  if (!table::IsTime(*hours->type()))
    return Error(ErrorKind::kUser, "time_hour of flights.csv is no time");
  GNOMON_ASSIGN_OR_RETURN(auto instants, table::TimesAsMicros(*hours));
  GNOMON_ASSIGN_OR_RETURN(auto year, Doubles(raw, "year"));
  GNOMON_ASSIGN_OR_RETURN(auto month, Doubles(raw, "month"));
  GNOMON_ASSIGN_OR_RETURN(auto day, Doubles(raw, "day"));
  GNOMON_ASSIGN_OR_RETURN(auto hour, Doubles(raw, "hour"));
  GNOMON_ASSIGN_OR_RETURN(auto minute, Doubles(raw, "minute"));
  GNOMON_ASSIGN_OR_RETURN(auto delay, Doubles(raw, "arr_delay"));
  arrow::TimestampBuilder times(Instant(), arrow::default_memory_pool());
  arrow::Int64Builder sched_hours;
  arrow::Int64Builder weekdays;
  arrow::DoubleBuilder late;
  std::vector<int64_t> arrived;
  for (int64_t row = 0; row < raw.num_rows(); ++row) {
    if (delay->IsNull(row) || hours->IsNull(row)) continue;
    arrived.push_back(row);
    const int64_t time =
        instants[static_cast<size_t>(row)] + static_cast<int64_t>(minute->Value(row)) * kMinute;
    data->end = std::max(data->end, time);
    GNOMON_RETURN_NOT_OK(times.Append(time));
    GNOMON_RETURN_NOT_OK(sched_hours.Append(static_cast<int64_t>(hour->Value(row))));
    GNOMON_RETURN_NOT_OK(
        weekdays.Append(Weekday(year->Value(row), month->Value(row), day->Value(row))));
    GNOMON_RETURN_NOT_OK(late.Append(delay->Value(row) > kLateMinutes ? 1 : 0));
  }
  data->all_flights = raw.num_rows();

  arrow::FieldVector fields;
  arrow::ArrayVector columns;
  auto add = [&](const std::string& name, std::shared_ptr<arrow::Array> column) {
    fields.push_back(arrow::field(name, column->type()));
    columns.push_back(std::move(column));
  };
  for (const char* name : {"flight", "carrier", "origin", "dest", "tailnum"}) {
    GNOMON_ASSIGN_OR_RETURN(auto column, Column(raw, name));
    GNOMON_ASSIGN_OR_RETURN(column, table::Gather(arrow::ChunkedArray(column), arrived));
    add(name, std::move(column));
  }
  GNOMON_ASSIGN_OR_RETURN(auto distance, Doubles(raw, "distance"));
  GNOMON_ASSIGN_OR_RETURN(auto distances, table::Gather(arrow::ChunkedArray(distance), arrived));
  add("distance", std::move(distances));
  GNOMON_ASSIGN_OR_RETURN(auto column, sched_hours.Finish());
  add("sched_hour", std::move(column));
  GNOMON_ASSIGN_OR_RETURN(column, weekdays.Finish());
  add("weekday", std::move(column));
  GNOMON_ASSIGN_OR_RETURN(column, times.Finish());
  add("event_timestamp", std::move(column));
  GNOMON_ASSIGN_OR_RETURN(column, late.Finish());
  add("late", std::move(column));
  data->flights = arrow::Table::Make(arrow::schema(std::move(fields)), std::move(columns),
                                     static_cast<int64_t>(arrived.size()));
  return Status::OK();
}

Status MakeWeather(const arrow::Table& raw, FlightsData* data) {
  arrow::FieldVector fields;
  arrow::ArrayVector columns;
  GNOMON_ASSIGN_OR_RETURN(auto origin, Column(raw, "origin"));
  fields.push_back(arrow::field("origin", origin->type()));
  columns.push_back(std::move(origin));
  for (const char* name :
       {"temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib"}) {
    GNOMON_ASSIGN_OR_RETURN(auto column, Doubles(raw, name));
    fields.push_back(arrow::field(name, column->type()));
    columns.push_back(std::move(column));
  }
  GNOMON_ASSIGN_OR_RETURN(auto hours, Column(raw, "time_hour"));
  GNOMON_ASSIGN_OR_RETURN(auto instants, table::TimesAsMicros(*hours));
  arrow::TimestampBuilder observed(Instant(), arrow::default_memory_pool());
  GNOMON_RETURN_NOT_OK(observed.AppendValues(instants));
  GNOMON_ASSIGN_OR_RETURN(auto column, observed.Finish());
  fields.push_back(arrow::field("observed", Instant()));
  columns.push_back(std::move(column));
  data->weather =
      arrow::Table::Make(arrow::schema(std::move(fields)), std::move(columns), raw.num_rows());
  return Status::OK();
}

/// Minutes after midnight of a clock time written as 1504.
int64_t ClockMinutes(double clock) {
  const auto value = static_cast<int64_t>(clock);
  return value / 100 * 60 + value % 100;
}

/// Hours from UTC in winter, and whether summer time is kept.
struct Zone {
  int64_t hours = 0;
  bool summer_time = false;
};

Result<std::map<std::string, Zone>> Zones(const arrow::Table& airports) {
  GNOMON_ASSIGN_OR_RETURN(auto codes, Column(airports, "faa"));
  GNOMON_ASSIGN_OR_RETURN(auto hours, Doubles(airports, "tz"));
  GNOMON_ASSIGN_OR_RETURN(auto summer, Column(airports, "dst"));
  std::map<std::string, Zone> zones;
  for (int64_t row = 0; row < airports.num_rows(); ++row) {
    if (hours->IsNull(row)) continue;
    GNOMON_ASSIGN_OR_RETURN(auto code, codes->GetScalar(row));
    GNOMON_ASSIGN_OR_RETURN(auto dst, summer->GetScalar(row));
    zones[code->ToString()] = {.hours = static_cast<int64_t>(hours->Value(row)),
                               .summer_time = dst->ToString() == "A"};
  }
  return zones;
}

/// The instants at which departures and arrivals became known.
class Movements {
 public:
  static Result<Movements> Make(const arrow::Table& raw, const arrow::Table& airports) {
    Movements movements;
    GNOMON_ASSIGN_OR_RETURN(auto hours, Column(raw, "time_hour"));
    GNOMON_ASSIGN_OR_RETURN(movements.hours_, table::TimesAsMicros(*hours));
    GNOMON_ASSIGN_OR_RETURN(movements.local_hour_, Doubles(raw, "hour"));
    GNOMON_ASSIGN_OR_RETURN(movements.minute_, Doubles(raw, "minute"));
    GNOMON_ASSIGN_OR_RETURN(movements.dep_delay_, Doubles(raw, "dep_delay"));
    GNOMON_ASSIGN_OR_RETURN(movements.dep_time_, Doubles(raw, "dep_time"));
    GNOMON_ASSIGN_OR_RETURN(movements.arr_time_, Doubles(raw, "arr_time"));
    GNOMON_ASSIGN_OR_RETURN(movements.dest_, Column(raw, "dest"));
    GNOMON_ASSIGN_OR_RETURN(movements.zones_, Zones(airports));
    return movements;
  }

  bool has_departed(int64_t row) const {
    return dep_delay_->IsValid(row) && dep_time_->IsValid(row);
  }
  int64_t Departed(int64_t row) const {
    return hours_[static_cast<size_t>(row)] +
           static_cast<int64_t>(minute_->Value(row) + dep_delay_->Value(row)) * kMinute;
  }
  Result<int64_t> Arrived(int64_t row) const {
    GNOMON_ASSIGN_OR_RETURN(auto dest, dest_->GetScalar(row));
    const auto zone = zones_.find(dest->ToString());
    if (zone == zones_.end() || arr_time_->IsNull(row)) {
      return Departed(row) + kMinutesPerDay * kMinute;
    }
    // New York keeps summer time when its clock is 4 hours behind.
    const int64_t utc_hour = hours_[static_cast<size_t>(row)] / (60 * kMinute) % 24;
    const int64_t behind = (utc_hour - static_cast<int64_t>(local_hour_->Value(row)) + 24) % 24;
    const int64_t there = zone->second.hours + (zone->second.summer_time && behind == 4 ? 1 : 0);
    const int64_t elapsed = ClockMinutes(arr_time_->Value(row)) - there * 60 -
                            (ClockMinutes(dep_time_->Value(row)) + behind * 60);
    return Departed(row) + ((elapsed % kMinutesPerDay + kMinutesPerDay) % kMinutesPerDay) * kMinute;
  }

 private:
  std::vector<int64_t> hours_;
  std::shared_ptr<arrow::DoubleArray> local_hour_, minute_, dep_delay_, dep_time_, arr_time_;
  std::shared_ptr<arrow::Array> dest_;
  std::map<std::string, Zone> zones_;
};

/// Rows of `raw` with some of its columns and the instants at which they became known.
struct Outcomes {
  std::vector<int64_t> rows;
  arrow::TimestampBuilder known{Instant(), arrow::default_memory_pool()};
  arrow::DoubleBuilder late;

  Result<std::shared_ptr<arrow::Table>> Finish(const arrow::Table& raw, const std::string& delay,
                                               const std::string& time_name, bool with_late) {
    arrow::FieldVector fields;
    arrow::ArrayVector columns;
    auto add = [&](const std::string& name, std::shared_ptr<arrow::Array> column) {
      fields.push_back(arrow::field(name, column->type()));
      columns.push_back(std::move(column));
    };
    for (const char* name : {"origin", "dest", "carrier"}) {
      GNOMON_ASSIGN_OR_RETURN(auto column, Column(raw, name));
      GNOMON_ASSIGN_OR_RETURN(column, table::Gather(arrow::ChunkedArray(column), rows));
      add(name, std::move(column));
    }
    GNOMON_ASSIGN_OR_RETURN(auto delays, Doubles(raw, delay));
    GNOMON_ASSIGN_OR_RETURN(auto column, table::Gather(arrow::ChunkedArray(delays), rows));
    add(delay, std::move(column));
    GNOMON_ASSIGN_OR_RETURN(column, late.Finish());
    if (with_late) add("late", std::move(column));
    GNOMON_ASSIGN_OR_RETURN(column, known.Finish());
    add(time_name, std::move(column));
    return arrow::Table::Make(arrow::schema(std::move(fields)), std::move(columns),
                              static_cast<int64_t>(rows.size()));
  }
};

Status MakeHistory(const arrow::Table& raw, const arrow::Table& airports, FlightsData* data) {
  GNOMON_ASSIGN_OR_RETURN(const auto movements, Movements::Make(raw, airports));
  GNOMON_ASSIGN_OR_RETURN(auto delay, Doubles(raw, "arr_delay"));
  Outcomes departures;
  Outcomes arrivals;
  for (int64_t row = 0; row < raw.num_rows(); ++row) {
    if (!movements.has_departed(row)) continue;
    departures.rows.push_back(row);
    GNOMON_RETURN_NOT_OK(departures.known.Append(movements.Departed(row)));
    if (delay->IsNull(row)) continue;
    arrivals.rows.push_back(row);
    GNOMON_ASSIGN_OR_RETURN(const int64_t arrived, movements.Arrived(row));
    GNOMON_RETURN_NOT_OK(arrivals.known.Append(arrived));
    GNOMON_RETURN_NOT_OK(arrivals.late.Append(delay->Value(row) > kLateMinutes ? 1 : 0));
  }
  GNOMON_ASSIGN_OR_RETURN(data->departures, departures.Finish(raw, "dep_delay", "departed", false));
  GNOMON_ASSIGN_OR_RETURN(data->arrivals, arrivals.Finish(raw, "arr_delay", "arrived", true));
  return Status::OK();
}

}  // namespace

Result<FlightsData> LoadFlights(const Context& context, const std::string& folder) {
  FlightsData data;
  GNOMON_ASSIGN_OR_RETURN(auto flights, ReadCsv(context, folder, "flights.csv"));
  GNOMON_RETURN_NOT_OK(MakeFlights(*flights, &data));
  GNOMON_ASSIGN_OR_RETURN(auto airports, ReadCsv(context, folder, "airports.csv"));
  GNOMON_RETURN_NOT_OK(MakeHistory(*flights, *airports, &data));
  GNOMON_ASSIGN_OR_RETURN(auto weather, ReadCsv(context, folder, "weather.csv"));
  GNOMON_RETURN_NOT_OK(MakeWeather(*weather, &data));
  GNOMON_ASSIGN_OR_RETURN(auto planes, ReadCsv(context, folder, "planes.csv"));
  GNOMON_ASSIGN_OR_RETURN(data.planes, Register(*planes, {{"tailnum", "tailnum"},
                                                          {"year", "plane_year"},
                                                          {"engines", "engines"},
                                                          {"seats", "seats"}}));
  GNOMON_ASSIGN_OR_RETURN(auto airlines, ReadCsv(context, folder, "airlines.csv"));
  GNOMON_ASSIGN_OR_RETURN(data.airlines,
                          Register(*airlines, {{"carrier", "carrier"}, {"name", "airline_name"}}));
  return data;
}

}  // namespace gnomon::demo
