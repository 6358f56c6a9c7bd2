#include "train/network_trainer.h"

#include <cstdlib>
#include <dlfcn.h>
#include <filesystem>
#include <string>
#include <system_error>

#include "base/mutex.h"
#include "base/text.h"

namespace gnomon::train {

namespace {

namespace fs = std::filesystem;

constexpr const char* kLibrary = "libgnomon_torch.so";
constexpr const char* kFactory = "gnomon_network_trainer_v1";
constexpr const char* kVariable = "GNOMON_TORCH_LIBRARY";

// Where to look, best first. A variable that is set is the only place.
std::vector<std::string> Candidates() {
  if (const char* path = std::getenv(kVariable); path != nullptr && *path != '\0') return {path};
  std::vector<fs::path> folders;
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored).parent_path();
  if (!program.empty()) folders = {program / ".." / "lib", program};
  // The library (or program) that holds this code.
  Dl_info info{};
  if (::dladdr(reinterpret_cast<const void*>(&LoadNetworkTrainer), &info) != 0 &&
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

std::string LastError() {
  const char* error = ::dlerror();
  return error != nullptr ? error : "unknown error";
}

// kUnavailable, but trying again does not help: the file has to be put there.
Status NotLoaded(const std::string& reasons) {
  return MakeError(ErrorKind::kUnavailable,
                   Concat("training needs ", kLibrary, ", which cannot be opened: ", reasons), {},
                   Concat("build with -DGNOMON_TORCH=ON, or name the file in ", kVariable));
}

Result<NetworkTrainer*> Open() {
  std::string reasons;
  for (const std::string& candidate : Candidates()) {
    // The library stays for the life of the process: libtorch cannot be unloaded.
    void* library = ::dlopen(candidate.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (library != nullptr) {
      void* symbol = ::dlsym(library, kFactory);
      if (symbol != nullptr) return reinterpret_cast<NetworkTrainer* (*)()>(symbol)();
    }
    if (!reasons.empty()) reasons += "; ";
    reasons += LastError();
  }
  return NotLoaded(reasons);
}

}  // namespace

Result<NetworkTrainer*> LoadNetworkTrainer() {
  static Mutex mutex;
  static NetworkTrainer* trainer = nullptr;
  const MutexLock lock(mutex);
  if (trainer == nullptr) {
    GNOMON_ASSIGN_OR_RETURN(trainer, Open());
  }
  return trainer;
}

}  // namespace gnomon::train
