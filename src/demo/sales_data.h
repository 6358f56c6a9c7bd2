#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"

/// Synthetic weekly sales, deterministic by seed.
///
///   sales = store level * department level * level of the pair * season of the department
///           * holiday uplift * price effect of fuel * exp(noise)
///
/// Fuel price, temperature, cpi and unemployment wander slowly per store. Everything but the noise
/// is the noiseless mean, so no honest model can explain more variance than that mean does: its R2
/// on the held-out weeks is the noise floor that the demo prints.
namespace gnomon::demo {

struct SalesOptions {
  int64_t stores = 143;
  int64_t departments = 81;
  int64_t weeks = 52;
  uint64_t seed = 7;
  double noise = 0.10;  ///< standard deviation of the logarithm
};

/// Friday 2024-01-05, the first week's date, in microseconds.
inline constexpr int64_t kFirstWeek = 1'704'412'800'000'000;

struct SalesData {
  /// store, dept int64; date date32; weekly_sales double; is_holiday bool; temperature, fuel_price,
  /// cpi, unemployment double; event_timestamp and created timestamp[us, UTC]. A row is stamped
  /// when its week is over (date + 7 d) and created an hour later. Ordered by store, department,
  /// week.
  std::shared_ptr<arrow::Table> sales;
  /// store, dept, event_timestamp (the week's date), weekly_sales: what is to be predicted, same
  /// order.
  std::shared_ptr<arrow::Table> labels;
  /// The noiseless mean of each label row.
  std::vector<double> mean;
  /// The event timestamp of the last week's rows, microseconds: END of the materialization.
  int64_t end = 0;
};

Result<SalesData> GenerateSales(const Context& context, const SalesOptions& options);

}  // namespace gnomon::demo
