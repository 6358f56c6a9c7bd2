#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/context.h"
#include "base/error.h"

/// The point-in-time (as-of) join, label-side strategy: labels are indexed by (entity id, time);
/// one pass over the feature rows, in any order, updates the slot of the first label at or after
/// each row; a running maximum per entity then gives every label its newest row. No sort of the
/// features, no spill; memory O(labels) whatever the number of feature rows. Slots merge by
/// maximum, so partial joins over parts of the features can be reduced.
namespace gnomon::pit {

/// All times of one join are in one unit, that of the feature column; labels' times are converted
/// to it (floor) by the caller, TTL bounds (ceil) too: rule 4 of the point-in-time semantics.
struct AsOfOptions {
  /// Rows created after the label's time do not exist for it. A row without a created time exists
  /// from its event time.
  bool filter_by_created = false;
};

/// Where a label finds its feature row.
inline constexpr int64_t kNoRow = -1;

class AsOfJoin {
 public:
  /// `ids[i]` is the entity of label i (negative: a null key, which never matches), `times[i]` its
  /// time in feature units, `oldest[i]` the oldest feature time that still counts (INT64_MIN
  /// without TTL; empty: no TTL at all). Spans are copied. Ids are dense: memory is O(labels +
  /// greatest id), reserved from the context's budget, which must outlive the join. kUnsupported
  /// from 2^32 - 1 labels.
  static Result<AsOfJoin> Make(const Context& context, std::span<const int32_t> ids,
                               std::span<const int64_t> times, std::span<const int64_t> oldest,
                               const AsOfOptions& options = {});
  AsOfJoin(AsOfJoin&&) noexcept;
  AsOfJoin& operator=(AsOfJoin&&) noexcept;
  ~AsOfJoin();

  /// A join over the same labels that has seen no rows, to be filled by another thread and merged.
  /// Shares the index of the labels; costs 16 bytes a label, 24 with created times, from the first
  /// rows on.
  Result<AsOfJoin> MakePartial() const;

  /// Feature rows `first_row`, `first_row`+1, ...: entity ids (negative ones are passed over),
  /// times, created times (empty when the source has none; INT64_MIN stands for a null). Rows are
  /// numbered in input order: the tie break. Calls may come in any order of rows. Not thread-safe;
  /// use one AsOfJoin per thread and Merge.
  Status AddRows(std::span<const int32_t> ids, std::span<const int64_t> times,
                 std::span<const int64_t> created, int64_t first_row);

  /// AddRows with a number for each row instead of consecutive ones: rows that were shuffled or
  /// filtered.
  Status AddNumberedRows(std::span<const int32_t> ids, std::span<const int64_t> times,
                         std::span<const int64_t> created, std::span<const int64_t> rows);

  /// AddNumberedRows by sorting: the rows are put into the order of (entity, time), unless they are
  /// in it already, and merged with the labels in one walk; entities in parallel. O(rows + labels)
  /// and a sort, 28 bytes a row: for many rows at a time and so many labels per entity that a
  /// binary search for each row leaves the caches.
  Status MergeRows(const Context& context, std::span<const int32_t> ids,
                   std::span<const int64_t> times, std::span<const int64_t> created,
                   std::span<const int64_t> rows);

  /// Takes over the rows of another join over the same labels, ranges of these in parallel.
  Status Merge(const Context& context, const AsOfJoin& other);

  /// For each label, in label order, the number of the winning row or kNoRow: greatest time <= the
  /// label's, then greatest created, then the last row; kNoRow too when the winner is older than
  /// oldest[i]. Entities in parallel, O(labels).
  Result<std::vector<int64_t>> Finish(const Context& context) const;
  /// The same into `winners`. REQUIRES: as many as labels.
  Status Finish(const Context& context, std::span<int64_t> winners) const;

 private:
  AsOfJoin();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gnomon::pit
