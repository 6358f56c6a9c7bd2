#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "runtime/backend.h"
#include "runtime/job.h"
#include "runtime/sink.h"
#include "runtime/stage.h"

/// Stages, a sink and an actor for the tests of this module. The test's worker program has the
/// same.
namespace gnomon::runtime::test {

/// Rows of the tests: {key: int64, value: int64}.
struct Row {
  int64_t key = 0;
  int64_t value = 0;
  auto operator<=>(const Row&) const = default;
};

/// Stage functions:
/// Each reports how many rows it gave.
///   generate    argument "<seed> <rows>": random rows, keys 0 to 99
///   mix         fragment "map", "sum" (by key, sorted) or "sort": all inputs in order, then that;
///               rows go to the outputs by key
///   write       all inputs into a FolderSink (fragment: its folder) and the outputs
///   fail        fragment "<kind> <attempts>": the first attempts fail (0: all)
///   wait        until it is stopped, at most 20 s; creates the file of the fragment first
///   straggle    the first attempt waits, others write to a FolderSink as `write`
///   careless    one block, however many are wanted
///   crash       the first attempt kills its process by SIGKILL
///   told        one row: how many bytes this process was told of the access to the service
///               "fixture"
///   who         one row: the id of this process
///   busy        fragment: a folder, in which a file lies as long as the task runs; fails when
///   there
///               are more files than num_partitions allows by its argument
/// Actor `counter`: `add <n>` gives the sum, `fail` an error with place and hint, `crash` kills its
/// process, `wait` waits for the end of the call.
Status RegisterTestStages(StageRegistry& registry);

/// Files in a folder: an attempt is a file under .staging, commit renames it to part-<partition>.
/// Each commit that changed something leaves a line in the file .commits.
std::shared_ptr<Sink> MakeFolderSink(const std::string& folder);

/// An attempt of a FolderSink; gives its token.
Result<std::string> WriteToFolder(const Context& context, const std::string& folder, int partition,
                                  const std::vector<Row>& rows);

/// The files of a FolderSink that are visible, by name, and the number of lines in .commits.
struct FolderContents {
  std::vector<std::string> names;
  std::vector<Row> rows;  ///< of all files, sorted
  int64_t commits = 0;
  int64_t staged = 0;  ///< attempts that were left behind
};
FolderContents ReadFolder(const std::string& folder);

/// Rows of `generate`, for computing what a job should give.
std::vector<Row> GeneratedRows(uint64_t seed, int64_t num_rows);
/// All rows of a block on the driver.
std::vector<Row> RowsOf(Backend& backend, const std::vector<BlockDescriptor>& blocks);

std::shared_ptr<arrow::RecordBatch> BatchOf(const std::vector<Row>& rows);

/// The worker program of the tests, beside this program.
std::vector<std::string> TestWorkerCommand();

/// generate (arguments) -> mix "map" shuffled to `num_partitions` -> write into `folder`.
JobPlan WritePlan(const std::string& folder, int num_partitions);

}  // namespace gnomon::runtime::test
