#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/context.h"
#include "base/error.h"
#include "table/file.h"

namespace gnomon::table {

/// A share of a Parquet file: the row groups whose middle lies in the `index`-th of `count` equal
/// shares of all row groups' compressed bytes. Every row group is in exactly one of the `count`
/// parts, whoever reads them, and the parts one after the other are the file; some may be empty.
struct FilePart {
  int32_t index = 0;
  int32_t count = 1;
};

/// TableReader::Open for a part of one file. Its num_rows() is still that of the file. kUser when a
/// file of another format than Parquet is to be read in more than one part.
Result<std::unique_ptr<TableReader>> OpenFilePart(const Context& context, const std::string& path,
                                                  const FilePart& part,
                                                  const ReadOptions& options = {});

}  // namespace gnomon::table
