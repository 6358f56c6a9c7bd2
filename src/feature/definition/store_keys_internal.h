#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/config.h"
#include "base/error.h"
#include "base/text.h"

/// What the sections of several stores in feature_store.yaml share.
namespace gnomon::feature {

/// The text of a member; an absent one changes nothing, an empty one is kUser.
Status ReadText(const ConfigNode& section, std::string_view key, std::string* value);

/// `password`, or `password_file`: the first line of a file. Absent ones change nothing.
Status ReadPassword(const ConfigNode& section, Secret* password);

/// A number in [least, greatest]; an absent one changes nothing.
template <typename Integer>
Status ReadInteger(const ConfigNode& section, std::string_view key, int64_t least, int64_t greatest,
                   Integer* value) {
  const ConfigNode member = section.Get(key);
  if (member.is_null()) return Status::OK();
  GNOMON_ASSIGN_OR_RETURN(const int64_t number, member.AsInt());
  if (number < least || number > greatest)
    return member.ErrorHere(Concat("must be between ", least, " and ", greatest, ", not ", number));
  *value = static_cast<Integer>(number);
  return Status::OK();
}

/// The keys by which a PostgreSQL server is reached.
inline const std::vector<std::string> kPostgresKeys = {
    "host",        "port",         "database",         "db_schema",
    "user",        "password",     "password_file",    "sslmode",
    "sslkey_path", "sslcert_path", "sslrootcert_path", "max_conn"};

/// Reads kPostgresKeys into a store that has a member for each.
template <typename Store>
Status ReadPostgres(const ConfigNode& section, Store* store) {
  for (const auto& [key, value] : std::vector<std::pair<std::string_view, std::string*>>{
           {"host", &store->host},
           {"database", &store->database},
           {"db_schema", &store->db_schema},
           {"user", &store->user},
           {"sslmode", &store->sslmode},
           {"sslkey_path", &store->sslkey},
           {"sslcert_path", &store->sslcert},
           {"sslrootcert_path", &store->sslrootcert}}) {
    GNOMON_RETURN_NOT_OK(ReadText(section, key, value));
  }
  const std::vector<std::string> modes = {"disable", "allow",     "prefer",
                                          "require", "verify-ca", "verify-full"};
  if (!store->sslmode.empty() && std::ranges::find(modes, store->sslmode) == modes.end()) {
    return section.Get("sslmode").ErrorHere(Concat("unknown sslmode ", Quoted(store->sslmode)),
                                            Concat("modes: ", Join(modes, ", ")));
  }
  GNOMON_RETURN_NOT_OK(ReadInteger(section, "port", 1, 65'535, &store->port));
  GNOMON_RETURN_NOT_OK(ReadInteger(section, "max_conn", 1, 1000, &store->max_connections));
  return ReadPassword(section, &store->password);
}

}  // namespace gnomon::feature
