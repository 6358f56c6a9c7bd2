#include <cstdlib>
#include <dlfcn.h>
#include <filesystem>
#include <map>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

#include <arrow/filesystem/filesystem.h>

#include "base/mutex.h"
#include "base/text.h"
#include "table/object_store_internal.h"

namespace gnomon::table {

namespace internal {

namespace {

namespace fs = std::filesystem;

constexpr const char* kLibrary = "libgnomon_s3.so";
constexpr const char* kVariable = "GNOMON_S3_LIBRARY";

/// Where to look, best first. A variable that is set is the only place.
std::vector<std::string> Candidates() {
  if (const char* path = std::getenv(kVariable); path != nullptr && *path != '\0') return {path};
  std::vector<fs::path> folders;
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored).parent_path();
  if (!program.empty()) folders = {program / ".." / "lib", program};
  // The library (or program) that holds this code.
  Dl_info info{};
  if (::dladdr(reinterpret_cast<const void*>(&ObjectFileSystemOf), &info) != 0 &&
      info.dli_fname != nullptr) {
    folders.push_back(fs::path(info.dli_fname).parent_path());
  }
  std::vector<std::string> candidates;
  for (const fs::path& folder : folders) {
    const std::string path = (folder / kLibrary).lexically_normal().string();
    if (fs::exists(path, ignored)) candidates.push_back(path);
  }
  candidates.emplace_back(kLibrary);
  return candidates;
}

/// The library stays for the life of the process: its client has threads.
Result<ConnectS3> LoadLibrary() {
  std::string reasons;
  for (const std::string& candidate : Candidates()) {
    void* library = ::dlopen(candidate.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    void* symbol = library == nullptr ? nullptr : ::dlsym(library, kConnectS3);
    if (symbol != nullptr) return reinterpret_cast<ConnectS3 (*)()>(symbol)();
    const char* error = ::dlerror();
    reasons += Concat(reasons.empty() ? "" : "; ", error != nullptr ? error : "unknown error");
  }
  // Trying again does not help: the file has to be put there.
  return MakeError(
      ErrorKind::kUnavailable,
      Concat("s3:// paths need ", kLibrary, ", which cannot be opened: ", reasons), {},
      Concat("build it (cmake finds Arrow's libarrow_s3), or name the file in ", kVariable));
}

/// What a member of `more` says takes the place of what `settings` says.
void Override(const S3Settings& more, S3Settings* settings) {
  if (!more.endpoint_url.empty()) settings->endpoint_url = more.endpoint_url;
  if (!more.scheme.empty()) settings->scheme = more.scheme;
  if (!more.region.empty()) settings->region = more.region;
  if (!more.access_key_id.empty()) {
    settings->access_key_id = more.access_key_id;
    settings->session_token = more.session_token;
  }
  if (!more.secret_access_key.empty()) settings->secret_access_key = more.secret_access_key;
  if (more.path_style) settings->path_style = more.path_style;
  if (more.anonymous) settings->anonymous = true;
  if (!more.ca_file.empty()) settings->ca_file = more.ca_file;
}

/// The stores of the process: what was said of prefixes, and a connection for each way to reach a
/// service.
class Stores {
 public:
  void Use(const std::string& prefix, S3Settings settings) {
    const MutexLock lock(mutex_);
    settings_[prefix] = std::move(settings);
  }

  std::map<std::string, S3Settings> settings() {
    const MutexLock lock(mutex_);
    return settings_;
  }

  Result<std::shared_ptr<FileSystem>> Of(const std::string& path) {
    const MutexLock lock(mutex_);
    S3Settings settings;
    // Shorter prefixes come first.
    for (const auto& [prefix, more] : settings_) {
      if (path.starts_with(prefix)) Override(more, &settings);
    }
    GNOMON_ASSIGN_OR_RETURN(S3Connection connection, ResolveS3(settings, ProcessEnvironment));
    for (const auto& [known, store] : connected_) {
      if (known == connection) return store;
    }
    GNOMON_RETURN_NOT_OK(CheckCaFile(connection.ca_file));
    if (connect_ == nullptr) {
      GNOMON_ASSIGN_OR_RETURN(connect_, LoadLibrary());
    }
    bool has_credentials = false;
    auto store = connect_(connection, &has_credentials);
    const std::string endpoint = EndpointOf(connection);
    if (!store.ok()) return ObjectError(store.status(), path, endpoint);
    if (!has_credentials) return NoCredentials(path);
    connected_.emplace_back(std::move(connection),
                            MakeObjectFileSystem(*std::move(store), endpoint));
    return connected_.back().second;
  }

 private:
  static std::optional<std::string> ProcessEnvironment(const std::string& name) {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  }

  /// The client would only say that the certificate is not trusted.
  static Status CheckCaFile(const std::string& path) {
    if (path.empty() || ::access(path.c_str(), R_OK) == 0) return Status::OK();
    return MakeError(ErrorKind::kNotFound, Concat("the certificates for S3 cannot be read: ", path),
                     {},
                     "ca_file of s3: in feature_store.yaml, or AWS_CA_BUNDLE, names a file in PEM");
  }

  static Status NoCredentials(const std::string& path) {
    return MakeError(
        ErrorKind::kUnauthenticated, Concat("there are no credentials for ", path), {},
        "set access_key_id and secret_access_key of s3: in feature_store.yaml, or "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or MINIO_ACCESS_KEY and MINIO_SECRET_KEY, or "
        "write a profile into ~/.aws/credentials; a public bucket needs anonymous: true of s3:");
  }

  Mutex mutex_;
  std::map<std::string, S3Settings> settings_ GNOMON_GUARDED_BY(mutex_);
  std::vector<std::pair<S3Connection, std::shared_ptr<FileSystem>>> connected_
      GNOMON_GUARDED_BY(mutex_);
  ConnectS3 connect_ GNOMON_GUARDED_BY(mutex_) = nullptr;
};

/// Never destroyed: threads may still read when the process ends.
Stores& TheStores() {
  static auto* const stores = new Stores;
  return *stores;
}

}  // namespace

Result<std::shared_ptr<FileSystem>> ObjectFileSystemOf(const std::string& path) {
  return TheStores().Of(path);
}

}  // namespace internal

void UseS3(const std::string& prefix, S3Settings settings) {
  internal::TheStores().Use(prefix, std::move(settings));
}

std::map<std::string, S3Settings> S3InUse() { return internal::TheStores().settings(); }

}  // namespace gnomon::table
