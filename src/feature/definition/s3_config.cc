#include "base/files.h"
#include "base/text.h"
#include "feature/definition/s3_config_internal.h"
#include "feature/definition/store_keys_internal.h"

namespace gnomon::feature {
namespace {

/// `key`, or `key`_file: the first line of a file.
Status ReadSecret(const ConfigNode& section, const std::string& key, Secret* secret) {
  std::string text;
  std::string file;
  GNOMON_RETURN_NOT_OK(ReadText(section, key, &text));
  GNOMON_RETURN_NOT_OK(ReadText(section, key + "_file", &file));
  if (!file.empty()) {
    const ConfigNode place = section.Get(key + "_file");
    if (!text.empty()) return place.ErrorHere(Concat(key, " is given, too: keep one"));
    const auto content = ReadFile(file);
    if (!content.ok()) return WithLocation(content.status(), place.location());
    text = std::string(Trim(Split(*content, '\n')[0]));
    if (text.empty()) return place.ErrorHere("the file holds nothing in its first line");
  }
  *secret = Secret(std::move(text));
  return Status::OK();
}

}  // namespace

Status ReadS3(const ConfigNode& node, RepositoryConfig::S3* settings) {
  if (node.is_null()) return Status::OK();
  if (!node.is_mapping()) return node.ErrorHere("expected a mapping of keys");
  GNOMON_RETURN_NOT_OK(
      node.CheckKeys({"endpoint_url", "endpoint_override", "scheme", "region", "access_key_id",
                      "secret_access_key", "secret_access_key_file", "session_token",
                      "session_token_file", "path_style", "anonymous", "ca_file"}));
  if (node.Has("endpoint_url") && node.Has("endpoint_override")) {
    return node.Get("endpoint_override")
        .ErrorHere("endpoint_url and endpoint_override say the same: keep one");
  }
  GNOMON_RETURN_NOT_OK(ReadText(node, "endpoint_url", &settings->endpoint_url));
  GNOMON_RETURN_NOT_OK(ReadText(node, "endpoint_override", &settings->endpoint_url));
  GNOMON_RETURN_NOT_OK(ReadText(node, "scheme", &settings->scheme));
  settings->scheme = ToLower(settings->scheme);
  if (!settings->scheme.empty() && settings->scheme != "http" && settings->scheme != "https")
    return node.Get("scheme").ErrorHere("is http or https");
  GNOMON_RETURN_NOT_OK(ReadText(node, "region", &settings->region));
  GNOMON_RETURN_NOT_OK(ReadText(node, "ca_file", &settings->ca_file));
  GNOMON_RETURN_NOT_OK(ReadText(node, "access_key_id", &settings->access_key_id));
  GNOMON_RETURN_NOT_OK(ReadSecret(node, "secret_access_key", &settings->secret_access_key));
  GNOMON_RETURN_NOT_OK(ReadSecret(node, "session_token", &settings->session_token));
  if (settings->access_key_id.empty() != settings->secret_access_key.empty()) {
    return node.ErrorHere("access_key_id and secret_access_key belong together: give both",
                          "without them the keys come from the environment");
  }
  if (const ConfigNode style = node.Get("path_style"); !style.is_null()) {
    GNOMON_ASSIGN_OR_RETURN(settings->path_style, style.AsBool());
  }
  if (const ConfigNode anonymous = node.Get("anonymous"); !anonymous.is_null()) {
    GNOMON_ASSIGN_OR_RETURN(settings->anonymous, anonymous.AsBool());
  }
  return Status::OK();
}

}  // namespace gnomon::feature
