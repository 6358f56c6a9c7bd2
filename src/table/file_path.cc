#include <algorithm>
#include <array>

#include <arrow/io/compressed.h>
#include <arrow/io/interfaces.h>
#include <arrow/util/compression.h>
#include <arrow/util/io_util.h>

#include "table/file_internal.h"

namespace gnomon::table {

namespace {

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
  GNOMON_ASSIGN_OR_RETURN(const std::string place, internal::LocalPath(path));
  GNOMON_ASSIGN_OR_RETURN(const auto system, internal::FileSystem::Of(place));
  GNOMON_ASSIGN_OR_RETURN(auto files, system->List(place));
  std::ranges::sort(files);
  files.erase(std::ranges::unique(files).begin(), files.end());
  return files;
}

namespace internal {

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
  GNOMON_ASSIGN_OR_RETURN(const auto system, FileSystem::Of(path));
  GNOMON_ASSIGN_OR_RETURN(auto file, system->Open(path));
  GNOMON_ASSIGN_OR_RETURN(const int64_t size, file->GetSize());
  if (size == 0) return Error(ErrorKind::kDataLoss, "the file is empty (0 bytes): ", path);
  return file;
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
