#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "base/memory_reservation.h"
#include "feature/definition/definition.h"
#include "feature/offline/offline_store.h"

namespace gnomon::feature {

/// The source rows of one view after `transformations` and `filter`, in input order: step one of
/// the only order of execution (source rows, then the latest row or the window, then on-demand
/// expressions), shared by retrieval and materialization.
struct SourceRows {
  std::shared_ptr<arrow::Table>
      table;  ///< join keys, time columns, the asked columns; one chunk per column
  std::vector<std::shared_ptr<arrow::Array>> keys;  ///< the view's join keys
  std::shared_ptr<arrow::Array> time_column;
  int64_t unit_nanos = 1000;  ///< of times and created: the finer of both columns' units
  std::vector<int64_t> times;
  std::vector<int64_t> created;  ///< empty without a created column; INT64_MIN for a null
  int64_t null_times = 0;        ///< rows without an event timestamp: left out

  int64_t num_rows() const { return static_cast<int64_t>(times.size()); }
  Result<std::shared_ptr<arrow::Array>> Column(const std::string& name) const;
};

struct SourceRange {
  std::optional<int64_t> min;  ///< microseconds, inclusive: a bound for pruning only
  std::optional<int64_t> max;
  std::optional<int64_t> created_before;  ///< rows created after this do not exist
};

/// Reads sources; their memory is reserved from the context's budget, kExhausted when it refuses.
/// Tables that were read stay for other views of the same source while this object
/// lives. Not thread-safe.
class SourceReader {
 public:
  SourceReader(const OfflineStore& store, const Definitions& definitions)
      : store_(store), definitions_(definitions) {}

  /// Announces what will be read, so that one scan serves all views of a source. Call for every
  /// view before Read.
  Status Want(const FeatureView& view, const std::vector<std::string>& columns,
              const SourceRange& range);

  /// `columns`: source columns or transformed ones.
  Result<SourceRows> Read(const Context& context, const FeatureView& view,
                          const std::vector<std::string>& columns, const SourceRange& range);

  int64_t rows_read() const { return rows_read_; }
  int64_t scans() const { return scans_; }

 private:
  struct Scan {
    std::vector<std::string> columns;
    std::vector<std::string> required_columns;  ///< of them: keys and event times
    bool bounded = true;
    int64_t min = INT64_MAX;
    int64_t max = INT64_MIN;
    std::shared_ptr<arrow::Table> table;
    std::unique_ptr<MemoryReservation> memory;  ///< of the table
  };

  Result<std::shared_ptr<arrow::Table>> ReadSource(const Context& context,
                                                   const DataSource& source);

  const OfflineStore& store_;
  const Definitions& definitions_;
  std::map<std::string, Scan> wanted_;  ///< by data source
  int64_t rows_read_ = 0;
  int64_t scans_ = 0;
};

}  // namespace gnomon::feature
