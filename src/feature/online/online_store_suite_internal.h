#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "feature/online/online_store.h"

namespace gnomon::feature {

/// Opens one more store object over the same, at first empty, storage.
using OpenStore = std::function<std::unique_ptr<OnlineStore>()>;

/// What a store and its layout can tell apart.
struct OnlineStoreTraits {
  bool feast = false;               ///< only what Feast's values hold
  int64_t tick = 1;                 ///< microseconds between two event times
  bool keeps_created_times = true;  ///< they decide between equal event times
  bool distinct_tables = true;      ///< "a"/"b_c" and "a_b"/"c" are two tables
  bool commits_at_once = true;      ///< readers see all keys of a commit or none
};

/// What every online store must do, as subcases of the running test case: called with new storage
/// each time.
void CheckOnlineStore(const OpenStore& open, const OnlineStoreTraits& traits = {});

/// Parts of it; `store` is one that `open` gave.
void CheckOnlineStoreTables(OnlineStore& store, const OpenStore& open,
                            const OnlineStoreTraits& traits);
void CheckOnlineStoreThreads(OnlineStore& store, const OpenStore& open,
                             const OnlineStoreTraits& traits);

/// The bytes of an entity with one text as its key: Feast's version 3, made once.
std::string_view SuiteKey(std::string_view name);

}  // namespace gnomon::feature
