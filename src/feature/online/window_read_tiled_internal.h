#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "feature/online/folded_rows_internal.h"
#include "feature/online/online_store.h"
#include "feature/online/window_read_internal.h"
#include "pit/event_tiles.h"
#include "table/row_codec.h"

namespace gnomon::feature::internal {

/// Evaluates features of one read where the rows lie, from the tiles of their events. Takes the
/// rows that have tiles, and of their features those that tiles can tell. Not thread-safe.
class TiledRows final : public PackedRowReader {
 public:
  /// `reader` must outlive it.
  TiledRows(const WindowReader& reader, int64_t as_of);
  TiledRows(TiledRows&&) noexcept;
  ~TiledRows() override;

  const std::vector<int>& fields() const override { return reader_.packed_fields_; }

  bool Take(size_t row, const table::RowCodec& codec, std::span<const int> places,
            std::string_view bytes) override;

  /// The error of a row, if any had one: as WindowReader::Evaluate.
  Result<TakenRows> Finish(size_t num_rows);

 private:
  Status PadTo(size_t row);
  /// False when the row has to be decoded.
  Result<bool> TakeRow(size_t row);
  bool OpenBorders(int64_t num_events, std::string_view* parts);
  Result<bool> OpenColumns(int64_t num_events);
  Status AppendValues(const table::PackedList& times, int64_t end);
  Status AppendValue(size_t feature, const pit::TileValue& value);

  const WindowReader& reader_;
  const int64_t as_of_;
  Status failed_;
  TakenRows taken_;
  size_t next_ = 0;                                             ///< row
  std::vector<std::optional<table::PackedList>> lists_;         ///< of the row at hand, by field
  std::vector<std::unique_ptr<arrow::ArrayBuilder>> builders_;  ///< by feature
  pit::TileBorders borders_;                                    ///< of the row at hand
  bool has_lengths_ = false;                                    ///< as kTileLengths
  std::vector<std::optional<pit::TileReader>> columns_;         ///< of the row at hand
};

}  // namespace gnomon::feature::internal
