#include <algorithm>
#include <filesystem>
#include <system_error>

#include "base/files.h"
#include "base/text.h"
#include "tracking/artifact_folder_internal.h"

namespace gnomon::tracking {

namespace {

namespace fs = std::filesystem;

Status CopyFile(const Context& context, const fs::path& from, const fs::path& to) {
  GNOMON_RETURN_NOT_OK(context.Check());
  GNOMON_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(from.string()));
  GNOMON_RETURN_NOT_OK(MakeFolders(to.parent_path().string()));
  return WriteFileAtomic(to.string(), bytes);
}

}  // namespace

Status CopyArtifact(const Context& context, const std::string& local_path,
                    const std::string& folder, const std::string& artifact_path) {
  const fs::path relative = fs::path(artifact_path).lexically_normal();
  if (relative.empty() || relative.is_absolute() || *relative.begin() == "..") {
    return Error(ErrorKind::kUser,
                 "an artifact path is relative and stays inside the run: ", Quoted(artifact_path));
  }
  const fs::path target = fs::path(folder) / relative;
  std::error_code ignored;
  if (!fs::exists(local_path, ignored))
    return Error(ErrorKind::kNotFound, "artifact does not exist: ", local_path);
  if (fs::is_regular_file(local_path, ignored)) return CopyFile(context, local_path, target);
  GNOMON_ASSIGN_OR_RETURN(const std::vector<std::string> files, ArtifactsIn(local_path));
  for (const std::string& file : files) {
    GNOMON_RETURN_NOT_OK(CopyFile(context, fs::path(local_path) / file, target / file));
  }
  return Status::OK();
}

Result<std::vector<std::string>> ArtifactsIn(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code error;
  if (!fs::exists(folder, error)) return files;
  fs::recursive_directory_iterator entries(folder, error);
  for (; !error && entries != fs::recursive_directory_iterator(); entries.increment(error)) {
    std::error_code ignored;
    if (entries->is_regular_file(ignored))
      files.push_back(entries->path().lexically_relative(folder).string());
  }
  if (error) return ErrnoError(error.value(), Concat("cannot read ", folder));
  std::ranges::sort(files);
  return files;
}

}  // namespace gnomon::tracking
