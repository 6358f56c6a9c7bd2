#include <map>
#include <optional>
#include <utility>

#include "base/text.h"
#include "feature/online/packed_rows_internal.h"
#include "feature/online/packed_writer_internal.h"
#include "feature/online/sqlite_catalog_internal.h"
#include "feature/online/sqlite_table_internal.h"

namespace gnomon::feature::internal {
namespace {

class PackedTable : public SqliteTable {
 public:
  static Result<std::unique_ptr<PackedTable>> Open(const OnlineTable& table, int64_t id,
                                                   sql::Sqlite* database) {
    std::unique_ptr<PackedTable> opened(new PackedTable(table, id, database));
    GNOMON_ASSIGN_OR_RETURN(opened->select_,
                            database->Prepare(Concat("SELECT event_ts, schema_id, value FROM ",
                                                     opened->name_, " WHERE entity_key = ?")));
    return opened;
  }

  Result<OnlineValues> Read(const OnlineRead& read) override {
    GNOMON_RETURN_NOT_OK(rows_.Start(read));
    const size_t num_rows = read.keys.size();
    OnlineValues values;
    values.found.resize(num_rows);
    values.event_times.resize(num_rows);
    for (size_t row = 0; row < num_rows; ++row) {
      select_.BindBlob(1, read.keys[row]);
      GNOMON_ASSIGN_OR_RETURN(const bool found, select_.Step());
      if (found) {
        values.found[row] = true;
        values.event_times[row] = select_.Int(0);
        const Status status = rows_.Append(select_.Int(1), select_.Blob(2), load_);
        if (!status.ok()) {
          return WithContext(status, Concat("online store ", database_->path(), ", view ",
                                            Quoted(read.table->view)));
        }
      } else {
        GNOMON_RETURN_NOT_OK(rows_.AppendMissing());
      }
      select_.Reset();
    }
    GNOMON_ASSIGN_OR_RETURN(values.columns, rows_.Finish());
    return values;
  }

  Result<int64_t> CountRows() override {
    GNOMON_ASSIGN_OR_RETURN(auto count, database_->Prepare(Concat("SELECT count(*) FROM ", name_)));
    GNOMON_RETURN_NOT_OK(count.Step().status());
    return count.Int(0);
  }

  Result<std::unique_ptr<SqliteRowWriter>> MakeWriter(const OnlineTable& table) override {
    GNOMON_ASSIGN_OR_RETURN(auto writer, PackedWriter::Make(table, id_, database_));
    return std::make_unique<PackedWriter>(std::move(writer));
  }

 private:
  PackedTable(const OnlineTable& table, int64_t id, sql::Sqlite* database)
      : id_(id),
        name_(sql::QuoteIdentifier(PackedTableName(id, table.project, table.view))),
        database_(database),
        load_([database](int64_t schema) { return LoadSchema(database, schema); }) {}

  const int64_t id_;
  const std::string name_;
  sql::Sqlite* const database_;
  const PackedRows::LoadSchema load_;
  sql::SqliteStatement select_;
  PackedRows rows_;
};

class BothWriter : public SqliteRowWriter {
 public:
  BothWriter(std::unique_ptr<SqliteRowWriter> packed, std::unique_ptr<SqliteRowWriter> feast)
      : packed_(std::move(packed)), feast_(std::move(feast)) {}
  Status Write(const Context& context, const OnlineRows& rows) override {
    GNOMON_RETURN_NOT_OK(packed_->Write(context, rows));
    return feast_->Write(context, rows);
  }
  Status Flush(const Context& context) override {
    GNOMON_RETURN_NOT_OK(packed_->Flush(context));
    return feast_->Flush(context);
  }

 private:
  std::unique_ptr<SqliteRowWriter> packed_;
  std::unique_ptr<SqliteRowWriter> feast_;
};

/// A window view in Feast's layout: its raw rows are packed, its features are written for Feast.
class WindowTable : public SqliteTable {
 public:
  WindowTable(std::unique_ptr<SqliteTable> packed, std::unique_ptr<SqliteTable> feast)
      : packed_(std::move(packed)), feast_(std::move(feast)) {}
  Result<OnlineValues> Read(const OnlineRead& read) override { return packed_->Read(read); }
  Result<int64_t> CountRows() override { return packed_->CountRows(); }
  Result<std::unique_ptr<SqliteRowWriter>> MakeWriter(const OnlineTable& table) override {
    GNOMON_ASSIGN_OR_RETURN(auto packed, packed_->MakeWriter(table));
    GNOMON_ASSIGN_OR_RETURN(auto feast, feast_->MakeWriter(table));
    return std::make_unique<BothWriter>(std::move(packed), std::move(feast));
  }

 private:
  std::unique_ptr<SqliteTable> packed_;
  std::unique_ptr<SqliteTable> feast_;
};

}  // namespace

Result<std::unique_ptr<SqliteTable>> OpenSqliteTable(const LayoutOptions& options,
                                                     const OnlineTable& table,
                                                     sql::Sqlite* database) {
  GNOMON_ASSIGN_OR_RETURN(const auto id, FindTable(database, table.project, table.view));
  GNOMON_ASSIGN_OR_RETURN(const bool feast, HasFeastTable(database, table));
  GNOMON_ASSIGN_OR_RETURN(const auto layout,
                          LayoutToUse(options, table, {.packed = id.has_value(), .feast = feast}));
  if (!layout.has_value()) return nullptr;
  std::unique_ptr<SqliteTable> packed;
  if (id.has_value()) {
    GNOMON_ASSIGN_OR_RETURN(packed, PackedTable::Open(table, *id, database));
  }
  if (*layout == OnlineLayout::kPacked) return packed;
  GNOMON_ASSIGN_OR_RETURN(auto values, OpenFeastTable(table, options.key_version, database));
  if (table.features == nullptr) return values;
  return std::make_unique<WindowTable>(std::move(packed), std::move(values));
}

Status CreateSqliteTable(const LayoutOptions& options, const OnlineTable& table,
                         sql::Sqlite* database) {
  GNOMON_ASSIGN_OR_RETURN(const auto id, FindTable(database, table.project, table.view));
  GNOMON_ASSIGN_OR_RETURN(const bool feast, HasFeastTable(database, table));
  GNOMON_ASSIGN_OR_RETURN(
      const OnlineLayout layout,
      LayoutToPrepare(options, table, {.packed = id.has_value(), .feast = feast}));
  if (layout == OnlineLayout::kFeast) {
    GNOMON_RETURN_NOT_OK(CheckFeastSchema(table));
    GNOMON_RETURN_NOT_OK(CreateFeastTable(database, table));
  }
  if (layout == OnlineLayout::kFeast && table.features == nullptr) return Status::OK();
  const auto codec = table::RowCodec::Make(table.schema);
  if (!codec.ok())
    return WithContext(codec.status(), Concat("online table of view ", Quoted(table.view)));
  return CreateTable(database, table);
}

}  // namespace gnomon::feature::internal
