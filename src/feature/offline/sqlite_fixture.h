#pragma once

#include <string>

#include "sql/sqlite.h"
#include "tests/support/status.h"

/// Databases of tests.
namespace gnomon::feature {

/// Runs statements in the database at `path`, which is made when it is not there.
inline void ExecuteInSqlite(const std::string& path, const std::string& statements) {
  auto database = test::ValueOf(sql::Sqlite::Open(path));
  test::RequireOk(database.Execute(statements));
}

}  // namespace gnomon::feature
