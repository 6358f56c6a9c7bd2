#include "runtime/stage.h"

#include <algorithm>
#include <exception>
#include <new>
#include <utility>

#include <arrow/record_batch.h>

#include "base/clock.h"
#include "base/text.h"

namespace gnomon::runtime {

namespace {

// The blocks of one edge, one after the other.
class BlocksReader : public arrow::RecordBatchReader {
 public:
  BlocksReader(const BlockStore& store, const std::vector<BlockDescriptor>& blocks,
               std::shared_ptr<arrow::RecordBatchReader> first)
      : store_(store), blocks_(blocks), schema_(first->schema()), current_(std::move(first)) {}

  std::shared_ptr<arrow::Schema> schema() const override { return schema_; }

  Status ReadNext(std::shared_ptr<arrow::RecordBatch>* batch) override {
    while (current_ != nullptr) {
      GNOMON_RETURN_NOT_OK(current_->ReadNext(batch));
      if (*batch != nullptr) return Status::OK();
      current_ = nullptr;
      if (++position_ == blocks_.size()) break;
      GNOMON_ASSIGN_OR_RETURN(current_, store_.Open(blocks_[position_]));
      if (!current_->schema()->Equals(*schema_)) {
        return Error(ErrorKind::kInternal, "blocks of one edge differ in schema");
      }
    }
    *batch = nullptr;
    return Status::OK();
  }

 private:
  const BlockStore& store_;
  const std::vector<BlockDescriptor>& blocks_;
  const std::shared_ptr<arrow::Schema> schema_;
  std::shared_ptr<arrow::RecordBatchReader> current_;
  size_t position_ = 0;
};

template <typename Value>
Status AddNamed(std::map<std::string, Value>* values, const char* what, std::string name,
                Value value) {
  const auto [place, added] = values->emplace(std::move(name), std::move(value));
  if (added) return Status::OK();
  return Error(ErrorKind::kConflict, what, " is registered twice: ", Quoted(place->first));
}

template <typename Value>
Result<const Value*> FindNamed(const std::map<std::string, Value>& values, const char* what,
                               const std::string& name) {
  const auto found = values.find(name);
  if (found != values.end()) return &found->second;
  std::vector<std::string> names;
  for (const auto& entry : values) names.push_back(entry.first);
  const std::string near = DidYouMean(name, names);
  return MakeError(ErrorKind::kNotFound, Concat("no ", what, " is registered as ", Quoted(name)),
                   {}, near.empty() ? "driver and workers must be the same build" : near);
}

Result<TaskOutput> CallGuarded(const StageFunction& function, TaskContext& context) {
  try {
    return function(context);
  } catch (const std::bad_alloc&) {
    return Error(ErrorKind::kExhausted, "out of memory");
  } catch (const std::exception& exception) {
    return Error(ErrorKind::kInternal, "exception in a stage function: ", exception.what());
  } catch (...) {
    return Error(ErrorKind::kInternal, "exception in a stage function");
  }
}

}  // namespace

TaskContext::TaskContext(const Context& context, const Task& task, BlockStore& store)
    : context_(context), task_(task), store_(store) {}

Result<std::shared_ptr<arrow::RecordBatchReader>> TaskContext::OpenInput(size_t edge) const {
  if (edge >= task_.inputs.size()) {
    return Error(ErrorKind::kInternal, "stage ", Quoted(task_.stage), " has no input ", edge);
  }
  const auto& blocks = task_.inputs[edge];
  if (blocks.empty()) return nullptr;
  GNOMON_ASSIGN_OR_RETURN(auto first, store_.Open(blocks.front()));
  return std::make_shared<BlocksReader>(store_, blocks, std::move(first));
}

Result<std::shared_ptr<arrow::RecordBatchReader>> TaskContext::OpenBlock(
    const BlockDescriptor& block) const {
  return store_.Open(block);
}

Result<std::unique_ptr<BlockWriter>> TaskContext::NewOutput(
    const std::shared_ptr<arrow::Schema>& schema) {
  return store_.NewBlock(schema);
}

Result<BlockDescriptor> TaskContext::Finish(BlockWriter& writer) {
  GNOMON_ASSIGN_OR_RETURN(const BlockDescriptor block, writer.Finish());
  finished_.push_back(block);
  return block;
}

std::vector<BlockDescriptor> TaskContext::UnusedBlocks(
    const std::vector<BlockDescriptor>& kept) const {
  std::vector<BlockDescriptor> unused;
  for (const BlockDescriptor& block : finished_) {
    if (std::ranges::find(kept, block) == kept.end()) unused.push_back(block);
  }
  return unused;
}

Status StageRegistry::AddStage(std::string name, StageFunction function) {
  return AddNamed(&stages_, "a stage function", std::move(name), std::move(function));
}

Status StageRegistry::AddActor(std::string type, ActorFactory factory) {
  return AddNamed(&actors_, "an actor", std::move(type), std::move(factory));
}

Status StageRegistry::AddAccess(std::string service, AccessFunction take) {
  return AddNamed(&access_, "access to a service", std::move(service), std::move(take));
}

Result<const StageFunction*> StageRegistry::FindStage(const std::string& name) const {
  return FindNamed(stages_, "stage function", name);
}

Result<const ActorFactory*> StageRegistry::FindActor(const std::string& type) const {
  return FindNamed(actors_, "actor", type);
}

Result<const AccessFunction*> StageRegistry::FindAccess(const std::string& service) const {
  return FindNamed(access_, "access to a service", service);
}

Result<TaskOutput> RunTask(const Context& context, const StageRegistry& registry, const Task& task,
                           BlockStore& store) {
  GNOMON_RETURN_NOT_OK(context.Check());
  GNOMON_ASSIGN_OR_RETURN(const StageFunction* function, registry.FindStage(task.function));
  TaskContext task_context(context, task, store);
  const double start = MonotonicSeconds();
  Result<TaskOutput> output = CallGuarded(*function, task_context);
  if (output.ok()) output->seconds = MonotonicSeconds() - start;
  if (output.ok() && output->blocks.size() != static_cast<size_t>(task.num_outputs)) {
    output = Error(ErrorKind::kInternal, "stage function ", Quoted(task.function), " gave ",
                   output->blocks.size(), " blocks instead of ", task.num_outputs);
  }
  store.Release(
      task_context.UnusedBlocks(output.ok() ? output->blocks : std::vector<BlockDescriptor>{}));
  return output;
}

}  // namespace gnomon::runtime
