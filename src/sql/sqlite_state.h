#pragma once

#include <string>

#include "base/error.h"
#include "sql/sqlite.h"

namespace gnomon::sql {

/// Begins a transaction that only reads: from now on the connection sees one moment.
Status BeginReading(Sqlite* database);

/// A text for what is committed: another process that sees the same text in a transaction of its
/// own sees the same rows. REQUIRES: BeginReading. Holds as long as one connection stays open (the
/// last one of a database with a write-ahead log ends the log).
///
/// With a rollback journal it is the file's identity, size and time, and the counter of changes in
/// its header; with a write-ahead log the header of the log's index, which says the last committed
/// frame and the checksum of all frames (checkpoints do not change it). Both are read through
/// SQLite's own descriptors: closing another one of the same file would give up SQLite's locks.
Result<std::string> CommittedState(Sqlite* database);

}  // namespace gnomon::sql
