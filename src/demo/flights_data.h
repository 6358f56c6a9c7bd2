#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"

namespace gnomon::demo {

/// nycflights13 made ready for the flow. Its quirks and what is done about them
/// (docs/guide/demo.md): scheduled times are New York local time, so the instant comes from
/// `time_hour` (UTC) plus the minutes; "NA" is a null; cancelled and diverted flights have no
/// arrival delay and are left out as labels; weather has two rows for the hour that daylight saving
/// repeats, told apart by input order; a plane's year may be missing; local arrival times become
/// instants by the zone of the airport, and where that is unknown (4 airports in the Caribbean) the
/// arrival counts as known a day after departure.
struct FlightsData {
  /// flight, carrier, origin, dest, tailnum, distance double, sched_hour, weekday int64 (Monday 1),
  /// event_timestamp (scheduled departure, UTC), late double (1: arrives more than 15 minutes
  /// late).
  std::shared_ptr<arrow::Table> flights;
  std::shared_ptr<arrow::Table> weather;   ///< the file's columns and `observed`
  std::shared_ptr<arrow::Table> planes;    ///< tailnum, plane_year, engines, seats, `registered`
  std::shared_ptr<arrow::Table> airlines;  ///< carrier, airline_name, `registered`
  /// What became known of flights, and when: origin, dest, carrier, dep_delay in minutes,
  /// `departed`; and of those that arrived arr_delay, late (as above), `arrived`.
  std::shared_ptr<arrow::Table> departures;
  std::shared_ptr<arrow::Table> arrivals;
  int64_t all_flights = 0;  ///< with those that never arrived
  int64_t end = 0;          ///< the last scheduled departure, microseconds
};

/// Reads flights.csv, weather.csv, planes.csv, airlines.csv and airports.csv of `folder`. kNotFound
/// says how to get them.
Result<FlightsData> LoadFlights(const Context& context, const std::string& folder);

}  // namespace gnomon::demo
