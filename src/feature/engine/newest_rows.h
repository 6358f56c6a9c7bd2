#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "base/memory_reservation.h"
#include "base/mutex.h"
#include "feature/engine/view_source.h"
#include "table/key_index.h"

namespace gnomon::feature {

/// The newest row of one key.
struct NewestRow {
  int64_t number = -1;  ///< NumberOfRow
  int64_t time = 0;     ///< raw, in the units of the source's columns
  int64_t created = 0;  ///< INT64_MIN: none
};

/// Finds the newest row of every key: the greatest event time, then created time, then input
/// position. Memory O(distinct keys), reserved. Thread-safe until Finish.
class NewestRows {
 public:
  static Result<std::unique_ptr<NewestRows>> Make(const Context& context, const ViewSource& source);

  Status Add(const ViewBatch& batch);

  /// Puts the rows into input order, whatever order they were added in, and forgets the keys.
  void Finish();

  const std::vector<NewestRow>& rows() const { return rows_; }
  int64_t null_keys() const { return null_keys_; }

 private:
  NewestRows(const Context& context, const ViewSource& source)
      : source_(source), index_memory_(context.memory), rows_memory_(context.memory) {}
  Status Insert(const ViewBatch& batch, std::vector<int32_t>* ids);
  Status GrowRows(int64_t num_keys);

  const ViewSource& source_;
  Mutex mutex_;
  // Guarded by mutex_ until Finish.
  std::unique_ptr<table::KeyIndex> index_;  // null without keys
  MemoryReservation index_memory_;
  std::vector<NewestRow> rows_;  // by key id
  MemoryReservation rows_memory_;
  int64_t null_keys_ = 0;
};

}  // namespace gnomon::feature
