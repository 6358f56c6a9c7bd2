#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/context.h"
#include "base/error.h"
#include "sql/postgres.h"

namespace gnomon::sql {

/// The bytes of `COPY ... TO STDOUT`, as they come. The connection does nothing else meanwhile; one
/// that is left before the end is not usable any more. Not thread-safe.
class PostgresCopyOut {
 public:
  static Result<PostgresCopyOut> Begin(const Context& context, Postgres* connection,
                                       const std::string& statement);
  PostgresCopyOut(PostgresCopyOut&& other) noexcept;
  PostgresCopyOut& operator=(PostgresCopyOut&&) = delete;
  ~PostgresCopyOut();
  /// The next piece (one row, as the server sends it), valid until the next call; nullopt at the
  /// end.
  Result<std::optional<std::string_view>> Next();

 private:
  PostgresCopyOut(const Context& context, Postgres* connection, std::string statement);
  Context context_;
  Postgres* connection_;  // null after a move
  std::string statement_;
  char* piece_ = nullptr;
  bool ended_ = false;
};

/// The bytes of `COPY ... FROM STDIN`. Without Finish nothing is stored, and the connection is not
/// usable any more. Not thread-safe.
class PostgresCopyIn {
 public:
  static Result<PostgresCopyIn> Begin(const Context& context, Postgres* connection,
                                      const std::string& statement);
  PostgresCopyIn(PostgresCopyIn&& other) noexcept;
  PostgresCopyIn& operator=(PostgresCopyIn&&) = delete;
  ~PostgresCopyIn();
  /// Pieces may be cut anywhere. An error of the server may come late, at the latest from Finish.
  Status Write(std::string_view bytes);
  /// Ends the data; the number of rows that the server stored.
  Result<int64_t> Finish();

 private:
  PostgresCopyIn(const Context& context, Postgres* connection, std::string statement);
  Context context_;
  Postgres* connection_;  // null after a move
  std::string statement_;
  size_t unsent_ = 0;
  bool ended_ = false;
};

}  // namespace gnomon::sql
