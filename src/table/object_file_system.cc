#include <arrow/filesystem/filesystem.h>
#include <arrow/util/key_value_metadata.h>
#include <fnmatch.h>

#include "base/text.h"
#include "table/object_request_internal.h"
#include "table/object_store_internal.h"

namespace gnomon::table::internal {

namespace {

using arrow::fs::FileInfo;
using arrow::fs::FileType;

constexpr std::string_view kScheme = "s3://";
constexpr std::string_view kWildcards = "*?[";

/// "bucket/key" of "s3://bucket/key/".
Result<std::string> KeyOf(const std::string& path) {
  std::string key = path.substr(kScheme.size());
  while (key.ends_with('/')) key.pop_back();
  if (key.empty() || key[0] == '/') {
    return MakeError(ErrorKind::kUser, Concat("the address names no bucket: ", Quoted(path)), {},
                     "an address is s3://bucket/key");
  }
  return key;
}

std::string PathOf(const std::string& key) { return Concat(kScheme, key); }

std::string NameOfKey(const std::string& key) { return key.substr(key.rfind('/') + 1); }

/// Are all folders and the name of `key` below `base` such that readers take them?
bool IsTaken(const std::string& key, const std::string& base) {
  for (const std::string& name : Split(std::string_view(key).substr(base.size() + 1), '/')) {
    if (IsLeftOut(name)) return false;
  }
  return true;
}

class Objects : public FileSystem {
 public:
  Objects(std::shared_ptr<arrow::fs::FileSystem> store, std::string endpoint)
      : store_(std::move(store)), endpoint_(std::move(endpoint)) {}

  Result<std::vector<std::string>> List(const std::string& path) override {
    GNOMON_ASSIGN_OR_RETURN(const std::string key, KeyOf(path));
    GNOMON_ASSIGN_OR_RETURN(const FileInfo info, InfoOf(key));
    std::vector<std::string> files;
    if (info.type() != FileType::NotFound) {
      GNOMON_RETURN_NOT_OK(AddFiles(info, &files));
      if (files.empty())
        return Error(ErrorKind::kNotFound, "the folder holds no data files: ", path);
      return files;
    }
    if (key.find_first_of(kWildcards) != std::string::npos)
      GNOMON_RETURN_NOT_OK(AddMatches(key, &files));
    if (files.empty()) return Missing(key, "no such object or folder: ");
    return files;
  }

  Result<bool> IsFile(const std::string& path) override {
    GNOMON_ASSIGN_OR_RETURN(const std::string key, KeyOf(path));
    GNOMON_ASSIGN_OR_RETURN(const FileInfo info, InfoOf(key));
    return info.IsFile();
  }

  Result<FileVersion> Version(const std::string& path) override {
    GNOMON_ASSIGN_OR_RETURN(const auto opened, OpenObject(path));
    return opened.version;
  }

  Result<std::shared_ptr<arrow::io::RandomAccessFile>> Open(const std::string& path) override {
    GNOMON_ASSIGN_OR_RETURN(auto opened, OpenObject(path));
    return MakeObjectFile(std::move(opened.file), path, endpoint_, std::move(opened.version));
  }

  Result<std::unique_ptr<AtomicOutput>> Create(const std::string& path) override {
    GNOMON_ASSIGN_OR_RETURN(const std::string key, ObjectKeyOf(path));
    auto upload = Requested(path, [store = store_, key] { return store->OpenOutputStream(key); });
    if (!upload.ok()) return ObjectError(upload.status(), path, endpoint_);
    return MakeObjectOutput(*std::move(upload), path, endpoint_);
  }

  Status Delete(const std::string& path) override {
    GNOMON_ASSIGN_OR_RETURN(const std::string key, ObjectKeyOf(path));
    const Status deleted =
        Requested(path, [store = store_, key] { return store->DeleteFile(key); });
    return ObjectError(deleted, path, endpoint_);
  }

 private:
  struct Opened {
    std::shared_ptr<arrow::io::RandomAccessFile> file;
    FileVersion version;
  };

  static Result<std::string> ObjectKeyOf(const std::string& path) {
    GNOMON_ASSIGN_OR_RETURN(std::string key, KeyOf(path));
    if (key.find('/') != std::string::npos && !path.ends_with('/')) return key;
    return MakeError(ErrorKind::kUser, Concat("the address names no object: ", Quoted(path)), {},
                     "an address is s3://bucket/key");
  }

  Result<Opened> OpenObject(const std::string& path) {
    GNOMON_ASSIGN_OR_RETURN(const std::string key, ObjectKeyOf(path));
    auto file = Requested(path, [store = store_, key] { return store->OpenInputFile(key); });
    if (!file.ok()) return Failed(key, file.status());
    Opened opened{.file = *std::move(file), .version = {}};
    const auto size = opened.file->GetSize();
    if (!size.ok()) return Failed(key, size.status());
    opened.version.size = *size;
    const auto metadata = opened.file->ReadMetadata();
    if (!metadata.ok()) return Failed(key, metadata.status());
    for (const char* name : {"ETag", "Last-Modified"}) {
      if (*metadata != nullptr && opened.version.etag.empty())
        opened.version.etag = (*metadata)->Get(name).ValueOr("");
    }
    return opened;
  }

  Result<FileInfo> InfoOf(const std::string& key) {
    auto info = Requested(PathOf(key), [store = store_, key] { return store->GetFileInfo(key); });
    if (!info.ok()) return Failed(key, info.status());
    return info;
  }

  /// The files that `info` stands for: itself or all below it.
  Status AddFiles(const FileInfo& info, std::vector<std::string>* files) {
    if (info.IsFile()) {
      files->push_back(PathOf(info.path()));
      return Status::OK();
    }
    GNOMON_ASSIGN_OR_RETURN(const auto below, ListBelow(info.path(), /*recursive=*/true));
    for (const FileInfo& each : below) {
      if (each.IsFile() && IsTaken(each.path(), info.path())) files->push_back(PathOf(each.path()));
    }
    return Status::OK();
  }

  Result<std::vector<FileInfo>> ListBelow(const std::string& key, bool recursive) {
    arrow::fs::FileSelector selector;
    selector.base_dir = key;
    selector.recursive = recursive;
    selector.allow_not_found = true;
    auto below =
        Requested(PathOf(key), [store = store_, selector] { return store->GetFileInfo(selector); });
    if (!below.ok()) return ObjectError(below.status(), PathOf(key), endpoint_);
    return below;
  }

  /// As glob(3) matches: a wildcard stays within its folder and matches no leading dot. A match
  /// that is a folder stands for all files below it.
  Status AddMatches(const std::string& pattern, std::vector<std::string>* files) {
    const std::vector<std::string> names = Split(pattern, '/');
    FileInfo root(names[0], FileType::Directory);
    std::vector<FileInfo> matches = {root};
    for (size_t i = 1; i < names.size(); ++i) {
      const bool is_last = i + 1 == names.size();
      std::vector<FileInfo> next;
      for (const FileInfo& match : matches) {
        if (!match.IsDirectory()) continue;
        GNOMON_RETURN_NOT_OK(AddLevel(match.path(), names[i], is_last, &next));
      }
      matches = std::move(next);
    }
    for (const FileInfo& match : matches) {
      if (!IsLeftOut(NameOfKey(match.path()))) GNOMON_RETURN_NOT_OK(AddFiles(match, files));
    }
    return Status::OK();
  }

  /// What `name`, which may have wildcards, matches right below `folder`.
  Status AddLevel(const std::string& folder, const std::string& name, bool is_last,
                  std::vector<FileInfo>* matches) {
    const std::string key = Concat(folder, "/", name);
    if (name.find_first_of(kWildcards) == std::string::npos) {
      if (!is_last) {
        matches->emplace_back(key, FileType::Directory);
        return Status::OK();
      }
      GNOMON_ASSIGN_OR_RETURN(const FileInfo info, InfoOf(key));
      if (info.type() != FileType::NotFound) matches->push_back(info);
      return Status::OK();
    }
    GNOMON_ASSIGN_OR_RETURN(const auto below, ListBelow(folder, /*recursive=*/false));
    for (const FileInfo& each : below) {
      if (::fnmatch(name.c_str(), NameOfKey(each.path()).c_str(), FNM_PERIOD) == 0)
        matches->push_back(each);
    }
    return Status::OK();
  }

  /// A HEAD request's answer has no text: what is wrong with the keys, and whether there is a
  /// bucket, a listing tells.
  Status Failed(const std::string& key, const Status& error) {
    const Status told = ObjectError(error, PathOf(key), endpoint_);
    switch (KindOf(told)) {
      case ErrorKind::kNotFound:
        return Missing(key, "no such object: ");
      case ErrorKind::kDenied:
      case ErrorKind::kUnavailable: {
        if (error.message().find("HeadObject") == std::string::npos &&
            error.message().find("HeadBucket") == std::string::npos)
          return told;
        if (error.message().find("NETWORK_CONNECTION") != std::string::npos) return told;
        const auto listing = ListBelow(key, /*recursive=*/false);
        return listing.ok() ? told : listing.status();
      }
      default:
        return told;
    }
  }

  Status Missing(const std::string& key, const char* what) {
    const std::string bucket = key.substr(0, key.find('/'));
    // An error other than a missing bucket says nothing about the object.
    const auto listing = ListBucket(bucket);
    if (!listing.ok() && KindOf(listing) == ErrorKind::kNotFound) return listing;
    return Error(ErrorKind::kNotFound, what, PathOf(key));
  }

  Status ListBucket(const std::string& bucket) {
    const auto info =
        Requested(PathOf(bucket), [store = store_, bucket] { return store->GetFileInfo(bucket); });
    if (!info.ok()) return ObjectError(info.status(), PathOf(bucket), endpoint_);
    if (info->type() != FileType::NotFound) return Status::OK();
    return Error(ErrorKind::kNotFound, "there is no such bucket",
                 endpoint_ == "AWS" ? "" : Concat(" at ", endpoint_), ": ", PathOf(bucket));
  }

  const std::shared_ptr<arrow::fs::FileSystem> store_;
  const std::string endpoint_;
};

}  // namespace

std::shared_ptr<FileSystem> MakeObjectFileSystem(std::shared_ptr<arrow::fs::FileSystem> store,
                                                 std::string endpoint) {
  return std::make_shared<Objects>(std::move(store), std::move(endpoint));
}

}  // namespace gnomon::table::internal
