#include "table/file_system.h"

#include <charconv>
#include <filesystem>

#include "base/ids.h"
#include "base/text.h"
#include "table/file_system_internal.h"
#include "table/object_store_internal.h"

namespace gnomon::table {

namespace {

constexpr std::string_view kObjectScheme = "s3://";

Status Changed(const std::string& path) {
  return MakeError(ErrorKind::kConflict, Concat("the file changed while it was being read: ", path),
                   {}, "run it again when nothing writes to the file");
}

int HexValue(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  const char lower = static_cast<char>(digit | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

std::string DecodePercent(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '%' && i + 2 < text.size() && HexValue(text[i + 1]) >= 0 &&
                        HexValue(text[i + 2]) >= 0;
    decoded.push_back(escape ? static_cast<char>(HexValue(text[i + 1]) * 16 + HexValue(text[i + 2]))
                             : text[i]);
    if (escape) i += 2;
  }
  return decoded;
}

/// Where the scheme of an address ends; npos for a path.
size_t SchemeEnd(std::string_view path) {
  const size_t colon = path.find("://");
  return colon == std::string_view::npos || path.find('/') < colon ? std::string_view::npos : colon;
}

/// 63 bits of the ETag's hash.
int64_t NumberOf(const std::string& etag) {
  const std::string hash = Sha256Hex(etag);
  uint64_t number = 0;
  std::from_chars(hash.data(), hash.data() + 16, number, 16);
  return static_cast<int64_t>(number >> 1);
}

}  // namespace

bool IsObjectPath(std::string_view path) {
  return ToLower(path.substr(0, kObjectScheme.size())) == kObjectScheme;
}

std::string PathBelow(const std::string& folder, const std::string& path) {
  if (SchemeEnd(path) != std::string::npos) return path;
  return (std::filesystem::path(folder) / path).lexically_normal().string();
}

Result<bool> IsFile(const std::string& path) {
  GNOMON_ASSIGN_OR_RETURN(const std::string place, internal::LocalPath(path));
  GNOMON_ASSIGN_OR_RETURN(const auto files, internal::FileSystem::Of(place));
  return files->IsFile(place);
}

Status DeleteFile(const std::string& path) {
  GNOMON_ASSIGN_OR_RETURN(const std::string place, internal::LocalPath(path));
  GNOMON_ASSIGN_OR_RETURN(const auto files, internal::FileSystem::Of(place));
  return files->Delete(place);
}

Result<FileStamp> StampOf(const std::string& path) {
  GNOMON_ASSIGN_OR_RETURN(const std::string place, internal::LocalPath(path));
  GNOMON_ASSIGN_OR_RETURN(const auto version, internal::FileVersion::Of(place));
  return FileStamp{.size = version.size,
                   .state = version.etag.empty() ? version.modified : NumberOf(version.etag)};
}

namespace internal {

Result<std::shared_ptr<FileSystem>> FileSystem::Of(const std::string& path) {
  if (IsObjectPath(path)) return ObjectFileSystemOf(path);
  return LocalFileSystem();
}

Result<FileVersion> FileVersion::Of(const std::string& path) {
  GNOMON_ASSIGN_OR_RETURN(const auto files, FileSystem::Of(path));
  return files->Version(path);
}

Status FileVersion::RequireSame(const std::string& path) const {
  GNOMON_ASSIGN_OR_RETURN(const FileVersion now, Of(path));
  return RequireEqual(now, path);
}

Status FileVersion::RequireEqual(const FileVersion& now, const std::string& path) const {
  return now == *this ? Status::OK() : Changed(path);
}

Status FileVersion::RequireNotWritten(const std::string& path) const {
  const auto now = Of(path);
  if (IsObjectPath(path)) {
    if (!now.ok() && KindOf(now.status()) != ErrorKind::kNotFound) return now.status();
    return now.ok() && *now == *this ? Status::OK() : Changed(path);
  }
  const bool is_other = !now.ok() || now->device != device || now->inode != inode;
  return is_other || *now == *this ? Status::OK() : Changed(path);
}

Status FileVersion::Explain(const std::string& path, const Status& error) const {
  if (error.ok() || !IsObjectPath(path)) return error;
  const Status changed = RequireNotWritten(path);
  return !changed.ok() && KindOf(changed) == ErrorKind::kConflict ? changed : error;
}

Result<std::string> LocalPath(const std::string& path) {
  const size_t colon = SchemeEnd(path);
  if (colon == std::string::npos) return path;
  if (IsObjectPath(path)) return Concat(kObjectScheme, path.substr(kObjectScheme.size()));
  const std::string scheme = ToLower(path.substr(0, colon));
  if (scheme != "file") {
    return MakeError(ErrorKind::kUnsupported,
                     Concat("files of this scheme cannot be read or written, only local ones and "
                            "those of s3://: ",
                            scheme, "://"),
                     {}, scheme == "s3a" || scheme == "s3n" ? "write s3://" : "");
  }
  const std::string rest = path.substr(colon + 3);
  const size_t slash = rest.find('/');
  const std::string host = rest.substr(0, slash);
  if (slash == std::string::npos || (!host.empty() && host != "localhost")) {
    return Error(ErrorKind::kUser,
                 "a file address names an absolute path, as in file:///data/x.parquet: ", path);
  }
  return DecodePercent(rest.substr(slash));
}

bool IsLeftOut(std::string_view name) { return name.empty() || name[0] == '.' || name[0] == '_'; }

}  // namespace internal

}  // namespace gnomon::table
