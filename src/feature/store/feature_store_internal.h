#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/mutex.h"
#include "feature/store/feature_store.h"

namespace gnomon::feature {

struct FeatureStore::Impl {
  static constexpr size_t kMaxReaders = 256;

  // Constant after Open; each provides its own synchronisation.
  RepositoryConfig config;
  std::unique_ptr<Registry> registry;
  std::unique_ptr<OfflineStore> offline;
  std::unique_ptr<OnlineStore> online;

  Mutex mutex;
  std::string readers_version
      GNOMON_GUARDED_BY(mutex);  ///< the registry version that `readers` belong to
  std::map<std::string, std::shared_ptr<const OnlineReader>> readers GNOMON_GUARDED_BY(mutex);

  void ForgetReaders() {
    MutexLock lock(mutex);
    readers.clear();
  }
};

}  // namespace gnomon::feature
