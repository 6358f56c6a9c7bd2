#include "dataset/asof/asof_labels.h"

#include <algorithm>
#include <utility>

#include <arrow/type.h>

#include "base/memory_reservation.h"
#include "dataset/asof/binding_internal.h"
#include "dataset/asof/labels_internal.h"
#include "dataset/asof/left_rows_internal.h"

namespace gnomon::dataset {

AsOfLabels::AsOfLabels(std::shared_ptr<const table::PartitionedTable> left)
    : left_(std::move(left)) {}

AsOfLabels::~AsOfLabels() = default;

Result<std::shared_ptr<AsOfLabels>> AsOfLabels::Read(
    const Context& context, std::shared_ptr<const table::PartitionedTable> left,
    const std::string& on, const std::vector<std::vector<std::string>>& key_sets,
    const AsOfSettings& settings) {
  std::shared_ptr<AsOfLabels> read(new AsOfLabels(std::move(left)));
  const table::PartitionedTable& table = *read->left_;
  GNOMON_ASSIGN_OR_RETURN(const int time, internal::FindTime(table, on));
  std::vector<std::vector<int>> places;
  for (const std::vector<std::string>& names : key_sets) {
    GNOMON_ASSIGN_OR_RETURN(places.emplace_back(), internal::FindColumns(table, names));
  }
  GNOMON_ASSIGN_OR_RETURN(const MemoryReservation reading, internal::ReserveForReading(context));
  read->rows_ = std::make_unique<internal::LeftRows>(context, table, settings.block_rows);
  GNOMON_ASSIGN_OR_RETURN(
      auto labels, internal::Labels::Read(context, table, time, places, settings.spill_folder,
                                          read->rows_.get()));
  read->labels_ = std::make_unique<internal::Labels>(std::move(labels));
  return read;
}

int64_t AsOfLabels::num_rows() const { return labels_->num_rows(); }
int64_t AsOfLabels::unit_nanos() const { return labels_->unit_nanos(); }
std::span<const int64_t> AsOfLabels::times() const { return labels_->times(); }
const std::optional<table::TimeRange>& AsOfLabels::range() const { return labels_->range(); }
int64_t AsOfLabels::null_rows() const { return labels_->null_rows(); }
int64_t AsOfLabels::spilled_bytes() const { return labels_->spilled_bytes(); }

AsOfLabels::Keys AsOfLabels::KeysOf(const std::vector<std::string>& columns) const {
  std::vector<int> places;
  std::ranges::transform(columns, std::back_inserter(places), [&](const std::string& name) {
    return left_->schema()->GetFieldIndex(name);
  });
  const internal::Labels::KeySet& keys = labels_->KeysOf(places);
  return {.ids = keys.ids.values(),
          .index = keys.index.get(),
          .num_keys = keys.index == nullptr ? 1 : keys.num_keys};
}

}  // namespace gnomon::dataset
