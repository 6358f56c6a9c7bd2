#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <span>
#include <thread>
#include <unistd.h>
#include <utility>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/ids.h"
#include "base/text.h"
#include "runtime/stage_fixture_internal.h"

namespace gnomon::runtime::test {

namespace {

namespace fs = std::filesystem;

std::shared_ptr<arrow::Schema> TestSchema() {
  return arrow::schema(
      {arrow::field("key", arrow::int64()), arrow::field("value", arrow::int64())});
}

Status AppendRows(const arrow::RecordBatch& batch, std::vector<Row>* rows) {
  const auto& keys = static_cast<const arrow::Int64Array&>(*batch.column(0));
  const auto& values = static_cast<const arrow::Int64Array&>(*batch.column(1));
  for (int64_t i = 0; i < batch.num_rows(); ++i) rows->push_back({keys.Value(i), values.Value(i)});
  return Status::OK();
}

Result<std::vector<Row>> ReadInputs(TaskContext& context) {
  std::vector<Row> rows;
  for (size_t edge = 0; edge < context.task().inputs.size(); ++edge) {
    GNOMON_ASSIGN_OR_RETURN(auto reader, context.OpenInput(edge));
    std::shared_ptr<arrow::RecordBatch> batch;
    while (reader != nullptr) {
      GNOMON_RETURN_NOT_OK(context.context().Check());
      GNOMON_RETURN_NOT_OK(reader->ReadNext(&batch));
      if (batch == nullptr) break;
      GNOMON_RETURN_NOT_OK(AppendRows(*batch, &rows));
    }
  }
  return rows;
}

Result<TaskOutput> WriteOutputs(TaskContext& context, const std::vector<Row>& rows) {
  const auto num_outputs = static_cast<size_t>(context.task().num_outputs);
  std::vector<std::vector<Row>> parts(num_outputs);
  for (const Row& row : rows) {
    if (num_outputs > 0) parts[static_cast<size_t>(row.key) % num_outputs].push_back(row);
  }
  TaskOutput output;
  for (const auto& part : parts) {
    GNOMON_ASSIGN_OR_RETURN(auto block, context.NewOutput(TestSchema()));
    // In several batches, as operators do.
    for (size_t begin = 0; begin < part.size(); begin += 100) {
      const auto end = part.begin() + static_cast<int64_t>(std::min(begin + 100, part.size()));
      GNOMON_RETURN_NOT_OK(block->Write(
          *BatchOf(std::vector<Row>(part.begin() + static_cast<int64_t>(begin), end))));
    }
    GNOMON_ASSIGN_OR_RETURN(const auto descriptor, context.Finish(*block));
    output.blocks.push_back(descriptor);
  }
  output.report = Concat(rows.size(), " rows");
  return output;
}

Result<TaskOutput> Generate(TaskContext& context) {
  const auto parts = Split(context.task().argument, ' ');
  return WriteOutputs(context, GeneratedRows(std::stoull(parts.at(0)), std::stoll(parts.at(1))));
}

Result<TaskOutput> Mix(TaskContext& context) {
  GNOMON_ASSIGN_OR_RETURN(std::vector<Row> rows, ReadInputs(context));
  const std::string& operation = context.task().fragment;
  if (operation == "map") {
    for (Row& row : rows) row.value = row.value * 31 + row.key;
  } else if (operation == "sum") {
    std::map<int64_t, int64_t> sums;
    for (const Row& row : rows) sums[row.key] += row.value;
    rows.clear();
    for (const auto& [key, sum] : sums) rows.push_back({key, sum});
  } else if (operation == "sort") {
    std::ranges::sort(rows);
  } else {
    return Error(ErrorKind::kUser, "unknown operation: ", operation);
  }
  return WriteOutputs(context, rows);
}

Result<TaskOutput> Write(TaskContext& context) {
  GNOMON_ASSIGN_OR_RETURN(const auto rows, ReadInputs(context));
  GNOMON_ASSIGN_OR_RETURN(TaskOutput output, WriteOutputs(context, rows));
  const Task& task = context.task();
  GNOMON_ASSIGN_OR_RETURN(output.commit_token,
                          WriteToFolder(context.context(), task.fragment, task.partition, rows));
  return output;
}

Status WaitForStop(const Context& context) {
  const double end = MonotonicSeconds() + 120;
  while (MonotonicSeconds() < end) {
    GNOMON_RETURN_NOT_OK(context.Check());
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return Error(ErrorKind::kInternal, "nobody stopped the task");
}

Result<TaskOutput> Wait(TaskContext& context) {
  if (!context.task().fragment.empty()) std::ofstream(context.task().fragment) << "begun";
  GNOMON_RETURN_NOT_OK(WaitForStop(context.context()));
  return TaskOutput{};
}

Result<TaskOutput> Straggle(TaskContext& context) {
  if (context.task().attempt == 1) GNOMON_RETURN_NOT_OK(WaitForStop(context.context()));
  return Write(context);
}

Result<TaskOutput> Fail(TaskContext& context) {
  const auto parts = Split(context.task().fragment, ' ');
  const int attempts = std::stoi(parts.at(1));
  if (attempts > 0 && context.task().attempt > attempts) return WriteOutputs(context, {{1, 2}});
  const ErrorKind kind = parts[0] == "unavailable" ? ErrorKind::kUnavailable : ErrorKind::kUser;
  return MakeError(kind, Concat("attempt ", context.task().attempt, " fails"),
                   {.file = "rows.csv", .line = 3, .column = 7, .row = 2}, "mend the row");
}

Result<TaskOutput> Careless(TaskContext& context) {
  GNOMON_ASSIGN_OR_RETURN(auto block, context.NewOutput(TestSchema()));
  GNOMON_ASSIGN_OR_RETURN(const auto descriptor, context.Finish(*block));
  return TaskOutput{.blocks = {descriptor}, .commit_token = {}};
}

Result<TaskOutput> Crash(TaskContext& context) {
  if (context.task().attempt == 1) ::kill(::getpid(), SIGKILL);
  return WriteOutputs(context, {{1, 2}});
}

Result<TaskOutput> Busy(TaskContext& context) {
  const fs::path file = fs::path(context.task().fragment) / RandomUuid();
  std::ofstream(file) << "busy";
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  const auto busy = std::distance(fs::directory_iterator(context.task().fragment), {});
  fs::remove(file);
  if (busy > std::stoll(context.task().argument)) {
    return Error(ErrorKind::kInternal, busy, " tasks at once");
  }
  return WriteOutputs(context, {});
}

std::string& AccessOfThisProcess() {
  static auto* const access = new std::string;
  return *access;
}

Status TakeAccess(std::string_view bytes) {
  if (bytes == "wrong") return Error(ErrorKind::kUser, "no access to the fixture");
  AccessOfThisProcess() = std::string(bytes);
  return Status::OK();
}

Result<TaskOutput> Told(TaskContext& context) {
  return WriteOutputs(context, {{0, static_cast<int64_t>(AccessOfThisProcess().size())}});
}

Result<TaskOutput> Who(TaskContext& context) { return WriteOutputs(context, {{0, ::getpid()}}); }

class Counter : public Actor {
 public:
  explicit Counter(int64_t start) : sum_(start) {}
  Result<std::string> Call(const Context& context, std::string_view method,
                           std::string_view payload) override {
    if (method == "add") return Concat(sum_ += std::stoll(std::string(payload)));
    if (method == "crash") ::kill(::getpid(), SIGKILL);
    if (method == "wait") return WaitForStop(context);
    return MakeError(ErrorKind::kNotFound, Concat("no method ", method),
                     {.file = "actor", .line = 5}, "call add");
  }

 private:
  int64_t sum_;
};

}  // namespace

std::shared_ptr<arrow::RecordBatch> BatchOf(const std::vector<Row>& rows) {
  arrow::Int64Builder keys;
  arrow::Int64Builder values;
  for (const Row& row : rows) {
    GNOMON_CHECK(keys.Append(row.key).ok() && values.Append(row.value).ok());
  }
  return arrow::RecordBatch::Make(TestSchema(), static_cast<int64_t>(rows.size()),
                                  {*keys.Finish(), *values.Finish()});
}

std::vector<Row> GeneratedRows(uint64_t seed, int64_t num_rows) {
  std::mt19937_64 engine(seed);
  std::vector<Row> rows;
  for (int64_t i = 0; i < num_rows; ++i) {
    const auto key = static_cast<int64_t>(engine() % 100);
    rows.push_back({key, static_cast<int64_t>(engine() % 1000)});
  }
  return rows;
}

std::vector<Row> RowsOf(Backend& backend, const std::vector<BlockDescriptor>& blocks) {
  std::vector<Row> rows;
  for (const BlockDescriptor& block : blocks) {
    auto reader = backend.blocks().Open(block);
    GNOMON_CHECK(reader.ok(), reader.status().ToString());
    std::shared_ptr<arrow::RecordBatch> batch;
    while ((*reader)->ReadNext(&batch).ok() && batch != nullptr) {
      GNOMON_CHECK(AppendRows(*batch, &rows).ok());
    }
  }
  return rows;
}

Status RegisterTestStages(StageRegistry& registry) {
  const std::map<std::string, StageFunction> stages = {
      {"generate", Generate}, {"mix", Mix},           {"write", Write}, {"fail", Fail},
      {"wait", Wait},         {"straggle", Straggle}, {"crash", Crash}, {"busy", Busy},
      {"careless", Careless}, {"told", Told},         {"who", Who}};
  for (const auto& [name, function] : stages) {
    GNOMON_RETURN_NOT_OK(registry.AddStage(name, function));
  }
  GNOMON_RETURN_NOT_OK(registry.AddAccess("fixture", TakeAccess));
  return registry.AddActor(
      "counter", [](const Context&, std::string_view arguments) -> Result<std::unique_ptr<Actor>> {
        return std::make_unique<Counter>(std::stoll(std::string(arguments)));
      });
}

std::vector<std::string> TestWorkerCommand() {
  const fs::path program = fs::read_symlink("/proc/self/exe").parent_path() / "runtime_test_worker";
  return {program.string(), "worker", "{fd}"};
}

JobPlan WritePlan(const std::string& folder, int num_partitions) {
  JobPlan plan{.name = "write", .stages = {}};
  plan.stages.push_back({.name = "source",
                         .function = "generate",
                         .fragment = {},
                         .num_partitions = 3,
                         .arguments = {"1 500", "2 0", "3 700"}});
  plan.stages.push_back({.name = "map",
                         .function = "mix",
                         .fragment = "map",
                         .num_partitions = 3,
                         .inputs = {{0, Exchange::kOneToOne}},
                         .num_outputs = num_partitions});
  plan.stages.push_back({.name = "write",
                         .function = "write",
                         .fragment = folder,
                         .num_partitions = num_partitions,
                         .inputs = {{1, Exchange::kShuffle}},
                         .num_outputs = 0,
                         .sink = MakeFolderSink(folder)});
  return plan;
}

}  // namespace gnomon::runtime::test
