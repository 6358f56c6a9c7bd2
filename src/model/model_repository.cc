#include <algorithm>
#include <charconv>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/text.h"
#include "model/model.h"
#include "model/model_file_internal.h"

namespace gnomon::model {

namespace {

// 0 when the name is none of 1, 2, 3, ...
int64_t VersionOf(const std::string& name) {
  int64_t version = 0;
  const char* end = name.data() + name.size();
  const auto [rest, error] = std::from_chars(name.data(), end, version);
  return error == std::errc() && rest == end && version > 0 && name[0] != '0' ? version : 0;
}

// Names of the folders inside `folder`; none when it does not exist.
Result<std::vector<std::string>> FoldersIn(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator entries(folder, error);
  if (error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory)
    return names;
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    std::error_code ignored;
    if (entries->is_directory(ignored)) names.push_back(entries->path().filename().string());
  }
  if (error) return ErrnoError(error.value(), Concat("cannot list ", folder));
  std::ranges::sort(names);
  return names;
}

}  // namespace

Result<int64_t> ModelRepository::Add(const Model& model) const {
  const std::string folder = Concat(folder_, "/", model.name());
  GNOMON_ASSIGN_OR_RETURN(StagedModel staged, StagedModel::Write(model, folder));
  // Each failed attempt means that another writer published a version.
  for (;;) {
    GNOMON_ASSIGN_OR_RETURN(const std::vector<int64_t> versions, Versions(model.name()));
    const int64_t next = versions.empty() ? 1 : versions.back() + 1;
    const Status status = staged.Publish(Concat(folder, "/", next));
    if (status.ok()) return next;
    if (KindOf(status) != ErrorKind::kConflict) return status;
    GNOMON_ASSIGN_OR_RETURN(const std::vector<int64_t> now, Versions(model.name()));
    if (now == versions) return status;  // what stands in the way is no version
  }
}

Result<std::vector<std::string>> ModelRepository::List() const {
  GNOMON_ASSIGN_OR_RETURN(const std::vector<std::string> folders, FoldersIn(folder_));
  std::vector<std::string> names;
  for (const std::string& name : folders) {
    if (!CheckModelName(name).ok()) continue;
    GNOMON_ASSIGN_OR_RETURN(const std::vector<int64_t> versions, Versions(name));
    if (!versions.empty()) names.push_back(name);
  }
  return names;
}

Result<std::vector<int64_t>> ModelRepository::Versions(const std::string& name) const {
  std::vector<int64_t> versions;
  if (!CheckModelName(name).ok()) return versions;
  GNOMON_ASSIGN_OR_RETURN(const std::vector<std::string> folders,
                          FoldersIn(Concat(folder_, "/", name)));
  for (const std::string& folder : folders) {
    if (const int64_t version = VersionOf(folder); version > 0) versions.push_back(version);
  }
  std::ranges::sort(versions);
  return versions;
}

Result<Model> ModelRepository::Load(const std::string& name, int64_t version) const {
  GNOMON_ASSIGN_OR_RETURN(const std::vector<int64_t> versions, Versions(name));
  if (versions.empty()) {
    GNOMON_ASSIGN_OR_RETURN(const std::vector<std::string> names, List());
    return MakeError(ErrorKind::kNotFound,
                     Concat("model not found: ", Quoted(name), " in ", folder_), {},
                     DidYouMean(name, names));
  }
  if (version == 0) version = versions.back();
  if (!std::ranges::binary_search(versions, version)) {
    return Error(ErrorKind::kNotFound, "model ", Quoted(name), " has no version ", version,
                 "; the latest is ", versions.back());
  }
  return Model::Load(Concat(folder_, "/", name, "/", version));
}

}  // namespace gnomon::model
