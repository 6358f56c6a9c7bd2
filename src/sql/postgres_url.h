#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "sql/postgres.h"

namespace gnomon::sql {

/// Reads postgresql://user:password@host:port/database?sslmode=...&options=... as libpq and
/// SQLAlchemy write it (`postgres://` and a driver as in `postgresql+psycopg://` too). Options:
/// host, port, dbname, user, password, sslmode, sslrootcert, sslcert, sslkey, connect_timeout, and
/// `options=-csearch_path=...`. kUser for what it cannot read; no message holds the password.
Result<PostgresOptions> ParsePostgresUrl(std::string_view url);

}  // namespace gnomon::sql
