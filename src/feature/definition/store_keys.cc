#include "base/files.h"
#include "feature/definition/store_keys_internal.h"

namespace gnomon::feature {

Status ReadText(const ConfigNode& section, std::string_view key, std::string* value) {
  const ConfigNode member = section.Get(key);
  if (member.is_null()) return Status::OK();
  GNOMON_ASSIGN_OR_RETURN(*value, member.AsString());
  return value->empty() ? member.ErrorHere("is empty") : Status::OK();
}

Status ReadPassword(const ConfigNode& section, Secret* password) {
  std::string text;
  std::string file;
  GNOMON_RETURN_NOT_OK(ReadText(section, "password", &text));
  GNOMON_RETURN_NOT_OK(ReadText(section, "password_file", &file));
  if (!file.empty()) {
    const ConfigNode member = section.Get("password_file");
    if (!text.empty()) return member.ErrorHere("stands beside password: give one of them");
    auto content = ReadFile(file);
    if (!content.ok()) return WithLocation(content.status(), member.location());
    text = content->substr(0, content->find_first_of("\r\n"));
  }
  if (!text.empty()) *password = Secret(std::move(text));
  return Status::OK();
}

}  // namespace gnomon::feature
