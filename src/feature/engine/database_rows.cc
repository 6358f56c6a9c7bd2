#include "feature/engine/database_rows.h"

#include <array>
#include <utility>

#include <arrow/type.h>

#include "base/text.h"
#include "table/partitioned_table.h"

namespace gnomon::feature {
namespace {

/// Types of sources whose parts other processes can read.
constexpr std::array kTypes = {"postgres", "sqlite"};
constexpr const char* kAccess = "offline_store";

std::string NameOf(const std::string& type) { return Concat("offline.", type); }

class StreamRows : public dataset::BatchSource {
 public:
  explicit StreamRows(std::unique_ptr<table::PartitionStream> rows) : rows_(std::move(rows)) {}
  Result<std::shared_ptr<arrow::RecordBatch>> Next() override { return rows_->Next(); }

 private:
  const std::unique_ptr<table::PartitionStream> rows_;
};

Result<std::unique_ptr<dataset::BatchSource>> ReadPart(const Context& context,
                                                       const OfflineStore& store,
                                                       const std::string& type,
                                                       const std::string& part) {
  GNOMON_ASSIGN_OR_RETURN(auto rows, store.ReadPart(context, type, part));
  return std::make_unique<StreamRows>(std::move(rows));
}

/// In the driver's process.
class SourceOfStore : public dataset::ExternalSource {
 public:
  SourceOfStore(const OfflineStore& store, std::string type)
      : store_(store), type_(std::move(type)) {}
  Result<std::unique_ptr<dataset::BatchSource>> Open(const Context& context,
                                                     const std::string& part) const override {
    return ReadPart(context, store_, type_, part);
  }

 private:
  const OfflineStore& store_;
  const std::string type_;
};

/// A worker's store: opened when the driver has said which, before any task.
struct StoreOfWorker {
  std::unique_ptr<OfflineStore> store;
};

class SourceOfWorker : public dataset::ExternalSource {
 public:
  SourceOfWorker(std::shared_ptr<const StoreOfWorker> worker, std::string type)
      : worker_(std::move(worker)), type_(std::move(type)) {}
  Result<std::unique_ptr<dataset::BatchSource>> Open(const Context& context,
                                                     const std::string& part) const override {
    if (worker_->store == nullptr)
      return Error(ErrorKind::kInternal, "the driver did not say how databases are reached");
    return ReadPart(context, *worker_->store, type_, part);
  }

 private:
  const std::shared_ptr<const StoreOfWorker> worker_;
  const std::string type_;
};

}  // namespace

std::map<std::string, std::shared_ptr<const dataset::ExternalSource>> DatabaseSources(
    const OfflineStore& store) {
  std::map<std::string, std::shared_ptr<const dataset::ExternalSource>> sources;
  for (const std::string type : kTypes)
    sources[NameOf(type)] = std::make_shared<SourceOfStore>(store, type);
  return sources;
}

Status RegisterDatabaseSources(runtime::StageRegistry& registry,
                               dataset::PlanExtensions* extensions) {
  const auto worker = std::make_shared<StoreOfWorker>();
  for (const std::string type : kTypes)
    extensions->sources[NameOf(type)] = std::make_shared<SourceOfWorker>(worker, type);
  return registry.AddAccess(kAccess, [worker](std::string_view bytes) {
    return OpenOfflineStore(Secret(std::string(bytes))).Value(&worker->store);
  });
}

std::map<std::string, Secret> AccessToDatabases(const OfflineStore& store) {
  Secret access = store.Access();
  if (access.empty()) return {};
  return {{kAccess, std::move(access)}};
}

Result<dataset::Plan> DatabaseRows(const Context& context, const OfflineStore& store,
                                   const DataSource& source, const ScanOptions& options,
                                   DatabaseReads* reads) {
  std::shared_ptr<SourceSnapshot>& snapshot = reads->snapshots[source.type];
  GNOMON_ASSIGN_OR_RETURN(SourceParts parts,
                          store.Parts(context, source, options, reads->most_parts, &snapshot));
  const std::string name = NameOf(source.type);
  const auto schema = parts.schema;
  GNOMON_ASSIGN_OR_RETURN(dataset::Plan rows,
                          dataset::MakeNode(dataset::ExternalSpec{
                              .source = name,
                              .parts = std::move(parts.parts),
                              .schema = schema,
                              .bytes = parts.bytes,
                              .description = Concat("data source ", Quoted(source.name)),
                              .reader = DatabaseSources(store)[name],
                              .holds = snapshot}));
  // The order of OrderedRows.
  dataset::SortSpec sort;
  const auto time = schema->GetFieldByName(source.timestamp_field);
  if (time != nullptr &&
      (time->type()->id() == arrow::Type::TIMESTAMP || time->type()->id() == arrow::Type::DATE32)) {
    sort.keys.push_back({.column = time->name(), .nulls_first = true});
  }
  sort.keys.push_back({.column = schema->fields().back()->name()});
  GNOMON_ASSIGN_OR_RETURN(rows, dataset::MakeNode(std::move(sort), {std::move(rows)}));
  dataset::ProjectSpec project;
  for (int i = 0; i + 1 < schema->num_fields(); ++i) {
    const std::string& column = schema->field(i)->name();
    project.expressions.push_back({column, dataset::ColumnExpression(column)});
  }
  return dataset::MakeNode(std::move(project), {std::move(rows)});
}

}  // namespace gnomon::feature
