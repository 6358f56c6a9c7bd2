#include <chrono>
#include <condition_variable>
#include <thread>
#include <unistd.h>
#include <utility>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/text.h"
#include "feature/online/sqlite_catalog_internal.h"
#include "feature/online/sqlite_connection_internal.h"
#include "feature/online/sqlite_store_internal.h"

namespace gnomon::feature::internal {
namespace {

constexpr double kWriteLockSeconds = 60;  // how long a writer waits for one in another process
constexpr size_t kMaxIdleReaders = 64;

/// Lets one writer in at a time. Thread-safe.
class WriteTurn {
 public:
  /// Waits for as long as the context allows. A thread that has a write open already gets an error
  /// instead of waiting for itself.
  Status Take(const Context& context) {
    const MutexLock lock(mutex_);
    while (taken_) {
      if (owner_ == std::this_thread::get_id()) {
        return Error(ErrorKind::kInternal,
                     "this thread has an open write: commit it before the next");
      }
      GNOMON_RETURN_NOT_OK(WithContext(context.Check(), "waiting to write to the online store"));
      free_.wait_for(mutex_, std::chrono::milliseconds(50));
    }
    taken_ = true;
    owner_ = std::this_thread::get_id();
    return Status::OK();
  }

  void GiveBack() {
    {
      const MutexLock lock(mutex_);
      taken_ = false;
      owner_ = {};
    }
    free_.notify_one();
  }

 private:
  Mutex mutex_;
  std::condition_variable_any free_;
  bool taken_ GNOMON_GUARDED_BY(mutex_) = false;
  std::thread::id owner_ GNOMON_GUARDED_BY(mutex_);
};

/// What a store and its open writers share; it lives as long as any of them.
struct Shared {
  Shared(std::string store_path, const LayoutOptions& store_layout)
      : path(std::move(store_path)), layout(store_layout) {}
  const std::string path;
  const LayoutOptions layout;
  WriteTurn turn;
  std::unique_ptr<SqliteConnection> idle_writer;  ///< belongs to who has the turn
};

Status Replaced(const std::string& path) {
  return Error(ErrorKind::kConflict,
               "online store was deleted or replaced during the write: ", path);
}

/// The turn, a connection and an open transaction; rolled back at the end unless committed.
class WriteTransaction {
 public:
  static Result<std::unique_ptr<WriteTransaction>> Begin(const Context& context,
                                                         std::shared_ptr<Shared> shared,
                                                         SqliteConnection::Role role) {
    GNOMON_RETURN_NOT_OK(shared->turn.Take(context));
    std::unique_ptr<WriteTransaction> transaction(new WriteTransaction(std::move(shared)));
    GNOMON_RETURN_NOT_OK(transaction->Open(context, role));
    return transaction;
  }
  WriteTransaction(const WriteTransaction&) = delete;
  WriteTransaction& operator=(const WriteTransaction&) = delete;

  ~WriteTransaction() {
    if (connection_ != nullptr && open_) {
      const Status rolled_back = connection_->database().Execute("ROLLBACK");
      if (!rolled_back.ok()) connection_.reset();  // closing it rolls back
    }
    shared_->idle_writer = failed_ ? nullptr : std::move(connection_);
    shared_->turn.GiveBack();
  }

  SqliteConnection& connection() { return *connection_; }
  sql::Sqlite& database() { return connection_->database(); }
  /// The connection is not used again.
  void Fail() { failed_ = true; }

  Status Commit() {
    if (!connection_->IsCurrent()) return Replaced(shared_->path);
    GNOMON_RETURN_NOT_OK(database().Execute("COMMIT"));
    open_ = false;
    return Status::OK();
  }

 private:
  explicit WriteTransaction(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}

  Status Open(const Context& context, SqliteConnection::Role role) {
    connection_ = std::move(shared_->idle_writer);
    if (connection_ == nullptr || !connection_->IsCurrent()) {
      GNOMON_ASSIGN_OR_RETURN(connection_,
                              SqliteConnection::Open(shared_->path, role, shared_->layout));
    }
    connection_->ForgetTables();
    const double give_up = MonotonicSeconds() + kWriteLockSeconds;
    for (;;) {
      const Status status = database().Execute("BEGIN IMMEDIATE");
      if (status.ok()) break;
      if (KindOf(status) != ErrorKind::kUnavailable || MonotonicSeconds() >= give_up) return status;
      GNOMON_RETURN_NOT_OK(WithContext(context.Check(), "waiting to write to the online store"));
    }
    open_ = true;
    return Status::OK();
  }

  std::shared_ptr<Shared> shared_;
  std::unique_ptr<SqliteConnection> connection_;
  bool open_ = false;
  bool failed_ = false;
};

class SqliteWriter : public OnlineWriter {
 public:
  SqliteWriter(std::unique_ptr<WriteTransaction> transaction,
               std::unique_ptr<SqliteRowWriter> writer)
      : transaction_(std::move(transaction)), writer_(std::move(writer)) {}

  Status Write(const Context& context, const OnlineRows& rows) override {
    GNOMON_RETURN_NOT_OK(context.Check());
    GNOMON_RETURN_NOT_OK(CheckOpen());
    Status status = writer_->Write(context, rows);
    if (!status.ok()) Close();
    return status;
  }

  Status Commit(const Context& context) override {
    GNOMON_RETURN_NOT_OK(context.Check());
    GNOMON_RETURN_NOT_OK(CheckOpen());
    Status status = writer_->Flush(context);
    if (status.ok()) status = transaction_->Commit();
    Close();
    return status;
  }

 private:
  Status CheckOpen() const {
    if (transaction_ != nullptr) return Status::OK();
    return Error(ErrorKind::kInternal,
                 "the online write has ended: it was committed or has failed");
  }

  // The statement ends before its connection is handed on.
  void Close() {
    writer_.reset();
    transaction_.reset();
  }

  std::unique_ptr<WriteTransaction> transaction_;
  std::unique_ptr<SqliteRowWriter> writer_;  // after transaction_: it is destroyed first
};

class SqliteStore : public OnlineStore {
 public:
  SqliteStore(const std::string& path, const LayoutOptions& layout)
      : shared_(std::make_shared<Shared>(path, layout)) {}

  Status Prepare(const Context& context, std::span<const OnlineTable> tables) override {
    GNOMON_ASSIGN_OR_RETURN(auto transaction, Begin(context, SqliteConnection::Role::kCreate));
    GNOMON_RETURN_NOT_OK(CreateCatalog(&transaction->database()));
    for (const OnlineTable& table : tables) {
      GNOMON_RETURN_NOT_OK(CreateSqliteTable(shared_->layout, table, &transaction->database()));
    }
    return transaction->Commit();
  }

  Status DropExcept(const Context& context, const std::string& project,
                    std::span<const std::string> keep) override {
    if (!Exists()) return Status::OK();
    GNOMON_ASSIGN_OR_RETURN(auto transaction, Begin(context, SqliteConnection::Role::kWrite));
    GNOMON_RETURN_NOT_OK(DropTables(&transaction->database(), project, keep));
    return transaction->Commit();
  }

  Status Teardown(const Context& context, const std::string& project) override {
    if (!Exists()) return Status::OK();
    GNOMON_ASSIGN_OR_RETURN(auto transaction, Begin(context, SqliteConnection::Role::kWrite));
    GNOMON_RETURN_NOT_OK(DropTables(&transaction->database(), project, {}));
    GNOMON_ASSIGN_OR_RETURN(const bool empty, IsEmpty(&transaction->database()));
    GNOMON_RETURN_NOT_OK(transaction->Commit());
    if (!empty) return Status::OK();
    transaction->Fail();
    DropIdleReaders();
    // SQLite leaves the files of a moved database alone, so a store that is made meanwhile is safe
    // from ours closing.
    for (const char* suffix : {"", "-wal", "-shm"}) {
      const std::string file = shared_->path + suffix;
      if (::unlink(file.c_str()) != 0 && errno != ENOENT)
        return ErrnoError(errno, Concat("cannot remove ", file));
    }
    return Status::OK();
  }

  Result<std::unique_ptr<OnlineWriter>> BeginWrite(const Context& context,
                                                   const OnlineTable& table) override {
    GNOMON_ASSIGN_OR_RETURN(auto transaction, Begin(context, SqliteConnection::Role::kWrite));
    GNOMON_ASSIGN_OR_RETURN(SqliteTable * opened, transaction->connection().FindTable(table));
    GNOMON_ASSIGN_OR_RETURN(auto writer, opened->MakeWriter(table));
    return std::make_unique<SqliteWriter>(std::move(transaction), std::move(writer));
  }

  Result<std::vector<OnlineValues>> Read(const Context& context,
                                         std::span<const OnlineRead> reads) override {
    GNOMON_RETURN_NOT_OK(context.Check());
    return WithReader([&](SqliteConnection& connection) { return connection.Read(reads); });
  }

  Status Update(const Context& context, const OnlineRead& read,
                const std::function<Result<OnlineRows>(const OnlineValues&)>& change) override {
    GNOMON_ASSIGN_OR_RETURN(auto transaction, Begin(context, SqliteConnection::Role::kWrite));
    GNOMON_ASSIGN_OR_RETURN(SqliteTable * table, transaction->connection().FindTable(*read.table));
    auto stored = table->Read(read);
    if (!stored.ok()) {
      transaction->Fail();
      return stored.status();
    }
    GNOMON_ASSIGN_OR_RETURN(const OnlineRows rows, change(*stored));
    if (rows.keys.empty()) return Status::OK();
    {
      GNOMON_ASSIGN_OR_RETURN(auto writer, table->MakeWriter(*read.table));
      GNOMON_RETURN_NOT_OK(writer->Write(context, rows));
      GNOMON_RETURN_NOT_OK(writer->Flush(context));
    }
    return transaction->Commit();
  }

  Result<int64_t> CountRows(const Context& context, const OnlineTable& table) override {
    GNOMON_RETURN_NOT_OK(context.Check());
    return WithReader([&](SqliteConnection& connection) -> Result<int64_t> {
      GNOMON_ASSIGN_OR_RETURN(SqliteTable * opened, connection.FindTable(table));
      return opened->CountRows();
    });
  }

 private:
  Result<std::unique_ptr<WriteTransaction>> Begin(const Context& context,
                                                  SqliteConnection::Role role) {
    GNOMON_RETURN_NOT_OK(context.Check());
    return WriteTransaction::Begin(context, shared_, role);
  }

  bool Exists() const { return ::access(shared_->path.c_str(), F_OK) == 0; }

  /// Runs `body` with a connection of its own. A connection that remembers a table which was
  /// dropped and made again fails once; a fresh one then knows better.
  template <typename Body>
  auto WithReader(const Body& body) -> decltype(body(std::declval<SqliteConnection&>())) {
    if (std::unique_ptr<SqliteConnection> connection = TakeIdleReader(); connection != nullptr) {
      auto result = body(*connection);
      if (result.ok()) {
        GiveBackReader(std::move(connection));
        return result;
      }
      if (KindOf(result.status()) != ErrorKind::kInternal) return result;
    }
    GNOMON_ASSIGN_OR_RETURN(
        auto connection,
        SqliteConnection::Open(shared_->path, SqliteConnection::Role::kRead, shared_->layout));
    auto result = body(*connection);
    if (result.ok()) GiveBackReader(std::move(connection));
    return result;
  }

  std::unique_ptr<SqliteConnection> TakeIdleReader() {
    std::unique_ptr<SqliteConnection> connection;
    {
      const MutexLock lock(mutex_);
      if (idle_readers_.empty()) return nullptr;
      connection = std::move(idle_readers_.back());
      idle_readers_.pop_back();
    }
    if (connection->IsCurrent()) return connection;
    DropIdleReaders();
    return nullptr;
  }

  void GiveBackReader(std::unique_ptr<SqliteConnection> connection) {
    const MutexLock lock(mutex_);
    if (idle_readers_.size() < kMaxIdleReaders) idle_readers_.push_back(std::move(connection));
  }

  void DropIdleReaders() {
    std::vector<std::unique_ptr<SqliteConnection>> dropped;
    const MutexLock lock(mutex_);
    dropped.swap(idle_readers_);
  }

  const std::shared_ptr<Shared> shared_;
  Mutex mutex_;
  std::vector<std::unique_ptr<SqliteConnection>> idle_readers_ GNOMON_GUARDED_BY(mutex_);
};

}  // namespace

Result<std::unique_ptr<OnlineStore>> OpenSqliteStore(const RepositoryConfig::OnlineStore& config) {
  if (config.path.empty()) return Error(ErrorKind::kUser, "the path of the online store is empty");
  GNOMON_ASSIGN_OR_RETURN(const LayoutOptions layout, LayoutOptionsOf(config));
  return std::make_unique<SqliteStore>(config.path, layout);
}

}  // namespace gnomon::feature::internal
