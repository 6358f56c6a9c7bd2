// Push: a fresh row goes to the online store and is served by the very next read, hours before a
// file or a materialization has it. Older rows never overwrite newer ones.
#include <cmath>
#include <cstdio>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>

#include "base/files.h"
#include "base/time.h"
#include "demo/template.h"
#include "feature/store/feature_store.h"

using gnomon::Context;
using gnomon::Result;
using gnomon::Status;
namespace feature = gnomon::feature;

namespace {

// A row as an application would make it: join key, event timestamp, created timestamp (this source
// has one), features. Columns are found by name.
Result<std::shared_ptr<arrow::RecordBatch>> OneRow(int64_t driver, int64_t time, double rate) {
  const auto instant = arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
  arrow::Int64Builder drivers, trips;
  arrow::TimestampBuilder times(instant, arrow::default_memory_pool());
  arrow::DoubleBuilder rates;
  GNOMON_RETURN_NOT_OK(drivers.Append(driver));
  GNOMON_RETURN_NOT_OK(times.Append(time));
  GNOMON_RETURN_NOT_OK(rates.Append(rate));
  GNOMON_RETURN_NOT_OK(trips.Append(30));
  GNOMON_ASSIGN_OR_RETURN(auto driver_column, drivers.Finish());
  GNOMON_ASSIGN_OR_RETURN(auto time_column, times.Finish());
  GNOMON_ASSIGN_OR_RETURN(auto rate_column, rates.Finish());
  GNOMON_ASSIGN_OR_RETURN(auto trip_column, trips.Finish());
  const auto schema = arrow::schema(
      {arrow::field("driver_id", arrow::int64()), arrow::field("event_timestamp", instant),
       arrow::field("created", instant), arrow::field("conv_rate", arrow::float64()),
       arrow::field("acc_rate", arrow::float64()),
       arrow::field("avg_daily_trips", arrow::int64())});
  return arrow::RecordBatch::Make(
      schema, 1, {driver_column, time_column, time_column, rate_column, rate_column, trip_column});
}

// What a server would answer for this driver at `time`.
Result<double> ConversionRate(const Context& context, const feature::FeatureStore& store,
                              int64_t driver, int64_t time) {
  GNOMON_ASSIGN_OR_RETURN(auto keys, OneRow(driver, time, 0));
  GNOMON_ASSIGN_OR_RETURN(keys, keys->SelectColumns({0}));
  GNOMON_ASSIGN_OR_RETURN(
      auto response,
      store.GetOnlineFeatures(
          context, {.features = {"driver_stats:conv_rate"}, .feature_service = {}}, *keys, time));
  const feature::OnlineColumn& column = response.features[0];
  std::printf("driver %lld: %s %s\n", static_cast<long long>(driver), column.name.c_str(),
              feature::NameOf(column.statuses[0]));
  return column.values->IsNull(0) ? std::nan("")
                                  : static_cast<const arrow::DoubleArray&>(*column.values).Value(0);
}

Status Expect(bool is_right, const char* what) {
  return is_right ? Status::OK()
                  : gnomon::Error(gnomon::ErrorKind::kInternal, "not as expected: ", what);
}

Status Run(const Context& context, const std::string& folder) {
  GNOMON_RETURN_NOT_OK(gnomon::demo::WriteTemplate(context, "minimal", folder).status());
  GNOMON_ASSIGN_OR_RETURN(auto store, feature::FeatureStore::Open(context, folder));
  GNOMON_ASSIGN_OR_RETURN(auto definitions, store->LoadRepository());
  GNOMON_RETURN_NOT_OK(store->Apply(context, definitions).status());

  // Nothing has been materialized: nobody knows driver 1001 yet.
  GNOMON_ASSIGN_OR_RETURN(const int64_t noon, gnomon::ParseTimestamp("2026-01-02T12:00:00Z"));
  GNOMON_ASSIGN_OR_RETURN(double rate, ConversionRate(context, *store, 1001, noon));
  GNOMON_RETURN_NOT_OK(Expect(std::isnan(rate), "an unknown driver has no value"));

  GNOMON_ASSIGN_OR_RETURN(auto fresh, OneRow(1001, noon, 0.75));
  GNOMON_RETURN_NOT_OK(store->Push(context, "driver_stats", *fresh).status());
  GNOMON_ASSIGN_OR_RETURN(rate, ConversionRate(context, *store, 1001, noon));
  GNOMON_RETURN_NOT_OK(Expect(rate == 0.75, "a pushed value is served at once"));

  // An hour older, arriving late: it changes nothing.
  GNOMON_ASSIGN_OR_RETURN(auto late, OneRow(1001, noon - 3600 * gnomon::kMicrosPerSecond, 0.25));
  GNOMON_RETURN_NOT_OK(store->Push(context, "driver_stats", *late).status());
  GNOMON_ASSIGN_OR_RETURN(rate, ConversionRate(context, *store, 1001, noon));
  return Expect(rate == 0.75, "an older row never overwrites a newer one");
}

}  // namespace

int main() {
  auto folder = gnomon::TemporaryFolder::Make("gnomon-example");
  if (!folder.ok()) return 1;
  const Status status = Run(Context{}, folder->path() + "/repository");
  if (!status.ok()) std::fprintf(stderr, "%s\n", gnomon::FormatError(status).c_str());
  return status.ok() ? 0 : 1;
}
