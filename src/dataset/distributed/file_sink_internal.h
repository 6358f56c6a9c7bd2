#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "dataset/plan.h"
#include "runtime/sink.h"

/// Files of a write node, whole and once. An attempt is written beside the final path under a
/// hidden name of its own; committing moves it there.
namespace gnomon::dataset::internal {

/// A path for one attempt: `<folder>/.<name>.gnomon-<random>`.
std::string AttemptPath(const std::string& path);

/// The token of an attempt that has been written. `rows` are those of the write node, with the
/// final paths.
Result<std::string> MakeWriteToken(const std::string& attempt_path, const std::string& path,
                                   const arrow::Table& rows);
/// The rows of a token.
Result<std::shared_ptr<arrow::Table>> RowsOfWriteToken(std::string_view token);

/// The driver's end. An attempt is known by its inode, so that a commit which is done again finds
/// that it has been done, whatever stands at its first place.
std::shared_ptr<runtime::Sink> MakeFileSink(const std::string& path);

}  // namespace gnomon::dataset::internal
