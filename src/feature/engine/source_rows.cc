#include "feature/engine/source_rows.h"

#include <utility>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "feature/engine/row_partitions.h"
#include "feature/engine/view_source.h"

namespace gnomon::feature {

Result<SourceRows> ReadSourceRows(const Context& context, const Definitions& definitions,
                                  const FeatureView& view, const OfflineStore& store,
                                  const std::vector<std::string>& columns, const SourceRange& range,
                                  SourceReads* reads) {
  GNOMON_ASSIGN_OR_RETURN(const ViewSource source, ViewSource::Open(context, definitions, view,
                                                                    store, columns, range, reads));
  ViewScan scan = ScanOf(range);
  GNOMON_ASSIGN_OR_RETURN(scan.values, source.Columns(columns));
  RowPartitions rows(context, source.EventSchema(scan.values), 1, std::string());
  ViewScanStats stats;
  const auto add = [&](const ViewBatch& batch) {
    const std::vector<int32_t> all(static_cast<size_t>(batch.num_rows), 0);
    return rows.Add(NumberOfRow(batch.partition, batch.first_row), batch.EventColumns(), all);
  };
  GNOMON_RETURN_NOT_OK(ScanView(context, source, scan, add, &stats));
  if (!view.is_derived()) *reads = {reads->rows + stats.rows_read, reads->scans + 1};

  GNOMON_RETURN_NOT_OK(rows.Finish());
  SourceRows read;
  read.memory = std::make_shared<MemoryReservation>(context.memory);
  auto taken = rows.Take(0, read.memory.get());
  if (!taken.ok()) return source.WithoutMemory(taken.status());
  const arrow::ArrayVector& arrays = (*taken)->columns();
  read.num_rows = (*taken)->num_rows();
  auto next = arrays.begin();
  for (size_t i = 0; i < source.keys().size(); ++i) read.keys.push_back(*next++);
  read.time_column = *next++;
  if (source.created() >= 0) read.created_column = *next++;
  read.columns.assign(next, arrays.end());
  GNOMON_ASSIGN_OR_RETURN(read.times, EventTimesOf(*read.time_column, read.created_column.get()));
  return read;
}

}  // namespace gnomon::feature
