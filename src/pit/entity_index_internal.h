#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "base/memory_reservation.h"

namespace gnomon::pit {

/// Rows grouped by entity id with a counting sort, ordered inside an entity. Rows with negative ids
/// are left out.
struct EntityIndex {
  /// The rows of entity e stand at offsets[e] .. offsets[e + 1] of `order` and `times`.
  std::vector<uint32_t> offsets;
  std::vector<uint32_t> order;
  std::vector<int64_t> times;

  int64_t num_entities() const { return static_cast<int64_t>(offsets.size()) - 1; }
  bool Has(int32_t id) const {
    const auto entity = static_cast<uint32_t>(id);
    return entity < static_cast<uint64_t>(num_entities()) && offsets[entity] != offsets[entity + 1];
  }
};

/// Orders the rows of each entity by (time, created, input order), or by (time, input order) when
/// `created` is empty. With `only`, rows of entities that have no row there are left out, and
/// entities are numbered as in it. O(rows), plus a sort for each entity whose rows are not in order
/// already. Fails with kUnsupported from 2^32 - 1 rows.
Result<EntityIndex> BuildEntityIndex(const Context& context, std::span<const int32_t> ids,
                                     std::span<const int64_t> times,
                                     std::span<const int64_t> created, const EntityIndex* only,
                                     MemoryReservation* memory);

}  // namespace gnomon::pit
