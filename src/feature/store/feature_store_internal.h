#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>

#include "base/mutex.h"
#include "feature/definition/loaded_definitions.h"
#include "feature/store/feature_store.h"

namespace gnomon::feature {

struct FeatureStore::Impl {
  static constexpr size_t kMaxReaders = 256;

  // Constant after Open; each provides its own synchronisation.
  RepositoryConfig config;
  std::unique_ptr<Registry> registry;
  std::unique_ptr<OfflineStore> offline;
  std::unique_ptr<OnlineStore> online;
  std::shared_ptr<const Extensions> extensions;  ///< null: no plug-ins

  Mutex mutex;
  std::string readers_version
      GNOMON_GUARDED_BY(mutex);  ///< the registry version that `readers` belong to
  std::map<std::string, std::shared_ptr<const OnlineReader>> readers GNOMON_GUARDED_BY(mutex);

  std::shared_ptr<const LoadedDefinitions> loaded
      GNOMON_GUARDED_BY(mutex);  ///< by the last LoadRepository

  std::shared_ptr<const Definitions> applied
      GNOMON_GUARDED_BY(mutex);  ///< the registry's definitions that `linked` was made of
  std::shared_ptr<const Definitions> linked GNOMON_GUARDED_BY(mutex);

  std::atomic<double> next_refresh = 0;  ///< MonotonicSeconds

  /// Looks at the registry again when cache_ttl is over. Without an answer what is known stays.
  void KeepFresh();

  /// The registry's definitions with the code of the plug-ins.
  std::shared_ptr<const Definitions> LinkedDefinitions();

  Result<FeaturePlan> Plan(const FeatureRequest& request);

  /// `definitions` with the places of the repository's files, when these say the same.
  LoadedDefinitions WithPlaces(const Definitions& definitions) {
    MutexLock lock(mutex);
    if (loaded != nullptr && loaded->Holds(definitions)) return *loaded;
    return {.definitions = definitions, .places = {}};
  }

  void ForgetReaders() {
    MutexLock lock(mutex);
    readers.clear();
  }
};

/// batch_engine of the repository as the joins' settings.
RetrievalOptions WithEngine(RetrievalOptions options, const RepositoryConfig& config);

}  // namespace gnomon::feature
