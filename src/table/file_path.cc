#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <sys/stat.h>
#include <system_error>

#include <arrow/io/compressed.h>
#include <arrow/io/file.h>
#include <arrow/util/compression.h>
#include <arrow/util/io_util.h>
#include <glob.h>

#include "table/file_internal.h"

namespace gnomon::table {

namespace {

namespace fs = std::filesystem;

struct Suffix {
  std::string_view text;
  FileFormat format;
};

constexpr std::array kSuffixes = {
    Suffix{".parquet", FileFormat::kParquet}, Suffix{".pq", FileFormat::kParquet},
    Suffix{".csv", FileFormat::kCsv},         Suffix{".csv.gz", FileFormat::kCsv},
    Suffix{".json", FileFormat::kJson},       Suffix{".jsonl", FileFormat::kJson},
    Suffix{".ndjson", FileFormat::kJson},     Suffix{".json.gz", FileFormat::kJson},
    Suffix{".jsonl.gz", FileFormat::kJson},   Suffix{".ndjson.gz", FileFormat::kJson},
    Suffix{".arrow", FileFormat::kIpc},       Suffix{".ipc", FileFormat::kIpc},
    Suffix{".feather", FileFormat::kIpc}};

bool IsLeftOut(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.empty() || name[0] == '.' || name[0] == '_';
}

Status ListFolder(const fs::path& folder, std::vector<std::string>* files) {
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, fs::directory_options::follow_directory_symlink,
                                         error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    if (IsLeftOut(entry->path())) {
      entry.disable_recursion_pending();
    } else if (entry->is_regular_file()) {
      files->push_back(entry->path().string());
    }
  }
  return error ? ErrnoError(error.value(), folder.string()) : Status::OK();
}

Status ListPath(const std::string& path, std::vector<std::string>* files) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::directory) return ListFolder(path, files);
  if (status.type() == fs::file_type::not_found) return Status::OK();
  if (error) return ErrnoError(error.value(), path);
  files->push_back(path);
  return Status::OK();
}

Status ListGlob(const std::string& pattern, std::vector<std::string>* files) {
  glob_t matches = {};
  const int code = ::glob(pattern.c_str(), GLOB_ERR, nullptr, &matches);
  Status status;
  if (code != 0 && code != GLOB_NOMATCH) {
    status = Error(ErrorKind::kUnavailable, "cannot read the folders of the pattern: ", pattern);
  }
  for (size_t i = 0; status.ok() && i < matches.gl_pathc; ++i) {
    if (!IsLeftOut(matches.gl_pathv[i])) status = ListPath(matches.gl_pathv[i], files);
  }
  ::globfree(&matches);
  return status;
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

}  // namespace

Result<FileFormat> ParseFileFormat(std::string_view text) {
  const std::string name = ToLower(text);
  if (name == "parquet") return FileFormat::kParquet;
  if (name == "csv") return FileFormat::kCsv;
  if (name == "json") return FileFormat::kJson;
  if (name == "ipc" || name == "arrow" || name == "feather") return FileFormat::kIpc;
  const std::array<std::string, 4> known = {"parquet", "csv", "json", "ipc"};
  return MakeError(ErrorKind::kUser,
                   Concat("unknown file format (parquet, csv, json, ipc): ", Quoted(text)), {},
                   DidYouMean(text, known));
}

Result<FileFormat> FormatOfPath(const std::string& path) {
  const std::string lower = ToLower(path);
  for (const Suffix& suffix : kSuffixes) {
    if (lower.ends_with(suffix.text)) return suffix.format;
  }
  return MakeError(
      ErrorKind::kUser, Concat("cannot tell the file format from the suffix: ", path), {},
      "known suffixes: .parquet .pq .csv .csv.gz .json .jsonl .ndjson .arrow .ipc .feather");
}

Result<std::vector<std::string>> ListDataFiles(const std::string& path) {
  GNOMON_ASSIGN_OR_RETURN(const std::string local, internal::LocalPath(path));
  std::vector<std::string> files;
  std::error_code error;
  if (fs::exists(local, error)) {
    GNOMON_RETURN_NOT_OK(ListPath(local, &files));
    if (files.empty()) return Error(ErrorKind::kNotFound, "the folder holds no data files: ", path);
  } else {
    GNOMON_RETURN_NOT_OK(ListGlob(local, &files));
    if (files.empty()) return Error(ErrorKind::kNotFound, "no such file or folder: ", path);
  }
  std::ranges::sort(files);
  files.erase(std::ranges::unique(files).begin(), files.end());
  return files;
}

namespace internal {

namespace {

Status Changed(const std::string& path) {
  return MakeError(ErrorKind::kConflict, Concat("the file changed while it was being read: ", path),
                   {}, "run it again when nothing writes to the file");
}

}  // namespace

Result<FileVersion> FileVersion::Of(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) return ErrnoError(errno, path);
  return FileVersion{
      .device = status.st_dev,
      .inode = status.st_ino,
      .size = status.st_size,
      .modified = int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec};
}

Status FileVersion::RequireSame(const std::string& path) const {
  GNOMON_ASSIGN_OR_RETURN(const FileVersion now, Of(path));
  return now == *this ? Status::OK() : Changed(path);
}

Status FileVersion::RequireNotWritten(const std::string& path) const {
  const auto now = Of(path);
  const bool is_other = !now.ok() || now->device != device || now->inode != inode;
  return is_other || *now == *this ? Status::OK() : Changed(path);
}

Result<std::string> LocalPath(const std::string& path) {
  const size_t colon = path.find("://");
  if (colon == std::string::npos || path.find('/') < colon) return path;
  const std::string scheme = ToLower(path.substr(0, colon));
  if (scheme != "file") {
    return Error(ErrorKind::kUnsupported,
                 "files of this scheme cannot be read or written, only local ones: ", scheme,
                 "://");
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

Status FileError(const Status& status, const std::string& path, ErrorKind kind) {
  if (status.ok()) return status;
  if (status.detail() != nullptr) {
    if (dynamic_cast<const ErrorDetail*>(status.detail().get()) != nullptr) return status;
    if (const int error = arrow::internal::ErrnoFromStatus(status); error != 0)
      return ErrnoError(error, path);
  }
  if (status.IsNotImplemented()) kind = ErrorKind::kUnsupported;
  if (status.IsOutOfMemory()) kind = ErrorKind::kExhausted;
  if (status.IsCancelled()) kind = ErrorKind::kCancelled;
  return Error(kind, path, ": ", status.message());
}

Status ReadError(const Status& status, const std::string& path, ErrorKind invalid) {
  const Status error = FileError(status, path, status.IsIOError() ? ErrorKind::kDataLoss : invalid);
  return error.message().find(path) == std::string::npos ? WithContext(error, path) : error;
}

Result<std::shared_ptr<arrow::io::RandomAccessFile>> OpenInput(const std::string& path) {
  auto file = arrow::io::ReadableFile::Open(path);
  if (!file.ok()) return FileError(file.status(), path, ErrorKind::kUnavailable);
  GNOMON_ASSIGN_OR_RETURN(const int64_t size, (*file)->GetSize());
  if (size == 0) return Error(ErrorKind::kDataLoss, "the file is empty (0 bytes): ", path);
  return *file;
}

Result<std::shared_ptr<arrow::io::InputStream>> OpenTextInput(const std::string& path) {
  GNOMON_ASSIGN_OR_RETURN(std::shared_ptr<arrow::io::InputStream> file, OpenInput(path));
  if (!ToLower(path).ends_with(".gz")) return file;
  GNOMON_ASSIGN_OR_RETURN(auto codec, arrow::util::Codec::Create(arrow::Compression::GZIP));
  GNOMON_ASSIGN_OR_RETURN(auto stream, arrow::io::CompressedInputStream::Make(codec.get(), file));
  return stream;
}

}  // namespace internal

}  // namespace gnomon::table
