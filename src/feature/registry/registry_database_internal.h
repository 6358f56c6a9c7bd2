#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/context.h"
#include "base/error.h"

/// What the SQL registry needs of a database.
namespace gnomon::feature {

struct SqlBytes {
  std::string_view value;
};
/// A parameter of a statement: a text, bytes or a number. Borrowed for the call.
using SqlParameter = std::variant<std::string_view, SqlBytes, int64_t>;
using SqlRow = std::vector<std::string>;

/// One connection, opened when it is first needed. Statements have the parameters $1, $2, ... in
/// this order, each once. Not thread-safe.
class RegistryDatabase {
 public:
  virtual ~RegistryDatabase() = default;
  /// Where it is, for messages; without a password.
  virtual std::string place() const = 0;
  /// The type of a column of bytes.
  virtual std::string_view bytes_type() const = 0;

  /// False for a file that does not exist; reading then finds nothing.
  virtual Result<bool> Exists(const Context& context) = 0;
  virtual Result<std::set<std::string>> Tables(const Context& context) = 0;

  /// All of `body` happens or nothing of it, and no other writing transaction of gnomon at the same
  /// time. Makes what does not exist.
  virtual Status Write(const Context& context, const std::function<Status()>& body) = 0;
  /// `body` reads one state.
  virtual Status Read(const Context& context, const std::function<Status()>& body) = 0;

  /// The number of rows that were changed.
  virtual Result<int64_t> Execute(const Context& context, const std::string& statement,
                                  std::span<const SqlParameter> parameters) = 0;
  /// Bytes as they are, numbers as decimal text, nulls empty.
  virtual Result<std::vector<SqlRow>> Query(const Context& context, const std::string& statement,
                                            std::span<const SqlParameter> parameters) = 0;

  /// A text that differs after another connection has changed one of these tables; empty when it
  /// cannot tell.
  virtual Result<std::string> Stamp(const Context& context,
                                    std::span<const std::string> tables) = 0;
};

std::unique_ptr<RegistryDatabase> MakeSqliteRegistryDatabase(std::string path);
/// sql::ParsePostgresUrl. Connects when something is asked.
Result<std::unique_ptr<RegistryDatabase>> MakePostgresRegistryDatabase(const std::string& url);

}  // namespace gnomon::feature
