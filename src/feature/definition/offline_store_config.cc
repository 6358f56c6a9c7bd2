#include <algorithm>
#include <utility>
#include <vector>

#include "base/files.h"
#include "base/text.h"
#include "feature/definition/offline_store_config_internal.h"

namespace gnomon::feature {
namespace {

using OfflineStore = RepositoryConfig::OfflineStore;

Status ReadText(const ConfigNode& section, std::string_view key, std::string* value) {
  const ConfigNode member = section.Get(key);
  if (member.is_null()) return Status::OK();
  GNOMON_ASSIGN_OR_RETURN(*value, member.AsString());
  return value->empty() ? member.ErrorHere("is empty") : Status::OK();
}

Status ReadNumber(const ConfigNode& section, std::string_view key, int greatest, int* value) {
  const ConfigNode member = section.Get(key);
  if (member.is_null()) return Status::OK();
  GNOMON_ASSIGN_OR_RETURN(const int64_t number, member.AsInt());
  if (number < 1 || number > greatest)
    return member.ErrorHere(Concat("must be between 1 and ", greatest, ", not ", number));
  *value = static_cast<int>(number);
  return Status::OK();
}

/// `password`, or `password_file`: the first line of a file.
Status ReadPassword(const ConfigNode& node, OfflineStore* store) {
  std::string text;
  std::string file;
  GNOMON_RETURN_NOT_OK(ReadText(node, "password", &text));
  GNOMON_RETURN_NOT_OK(ReadText(node, "password_file", &file));
  if (!file.empty()) {
    if (!text.empty())
      return node.Get("password_file").ErrorHere("stands beside password: give one of them");
    auto content = ReadFile(file);
    if (!content.ok()) return WithLocation(content.status(), node.Get("password_file").location());
    text = content->substr(0, content->find_first_of("\r\n"));
  }
  if (!text.empty()) store->password = Secret(std::move(text));
  return Status::OK();
}

Status ReadPostgres(const ConfigNode& node, OfflineStore* store) {
  GNOMON_RETURN_NOT_OK(node.CheckKeys(
      {"type", "host", "port", "database", "db_schema", "user", "password", "password_file",
       "sslmode", "sslkey_path", "sslcert_path", "sslrootcert_path", "max_conn"},
      {"conn_type", "min_conn", "keepalives_idle", "entity_select_mode"}));
  for (const auto& [key, value] : std::vector<std::pair<std::string_view, std::string*>>{
           {"host", &store->host},
           {"database", &store->database},
           {"db_schema", &store->db_schema},
           {"user", &store->user},
           {"sslmode", &store->sslmode},
           {"sslkey_path", &store->sslkey},
           {"sslcert_path", &store->sslcert},
           {"sslrootcert_path", &store->sslrootcert}}) {
    GNOMON_RETURN_NOT_OK(ReadText(node, key, value));
  }
  const std::vector<std::string> modes = {"disable", "allow",     "prefer",
                                          "require", "verify-ca", "verify-full"};
  if (!store->sslmode.empty() && std::ranges::find(modes, store->sslmode) == modes.end()) {
    return node.Get("sslmode").ErrorHere(Concat("unknown sslmode ", Quoted(store->sslmode)),
                                         Concat("modes: ", Join(modes, ", ")));
  }
  GNOMON_RETURN_NOT_OK(ReadNumber(node, "port", 65'535, &store->port));
  GNOMON_RETURN_NOT_OK(ReadNumber(node, "max_conn", 1000, &store->max_connections));
  return ReadPassword(node, store);
}

}  // namespace

Status ReadDatabaseStoreKeys(const ConfigNode& node, OfflineStore* store) {
  if (store->type == "postgres") return ReadPostgres(node, store);
  GNOMON_RETURN_NOT_OK(node.CheckKeys({"type", "path"}));
  return ReadText(node, "path", &store->path);
}

}  // namespace gnomon::feature
