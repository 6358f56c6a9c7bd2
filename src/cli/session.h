#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/metrics.h"
#include "feature/store/feature_store.h"

namespace gnomon::cli {

/// The global flags and what commands share. One per process run.
struct Session {
  std::string folder = ".";  ///< -c/--chdir
  std::string yaml;          ///< -f/--feature-store-yaml
  bool json = false;         ///< --json
  Context context;
  Metrics metrics;
  bool memory_limit_given = false;                  ///< --memory-limit
  std::unique_ptr<MemoryBudget> repository_memory;  ///< memory_limit of feature_store.yaml

  /// Opens the repository's store; from here on its memory_limit holds, unless --memory-limit was
  /// given.
  Result<std::unique_ptr<feature::FeatureStore>> OpenStore();
  /// A path of the command line: relative to where the command was started (not to -c).
  static std::string Path(const std::string& path) { return path; }
};

/// Results go to standard output, everything else to standard error.
void Print(std::string_view text);

/// Below a small limit, freed columns go back to the system at once instead of staying with the
/// allocator, where they would count: more CPU, less memory.
void ReturnFreedMemory(int64_t limit);

/// A table for people: columns padded, numbers to the right, nulls as "-".
struct TextTable {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
  std::string Format() const;
};

/// Parses the value of --json or --entities: JSON text, or @FILE.
Result<std::shared_ptr<arrow::RecordBatch>> ParseJsonRows(const std::string& argument);

/// `text` as microseconds, or absent when it is empty.
Result<std::optional<int64_t>> ParseOptionalTime(const std::string& text);

}  // namespace gnomon::cli
