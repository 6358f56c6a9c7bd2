#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"

/// Feature columns read as what a network can use.
namespace gnomon::model {

enum class FeatureKind { kNumber, kText, kNothing };  ///< kNothing: a column of type null

/// kUser for a type that is no feature: lists, structs, binaries. `name` is for the message.
Result<FeatureKind> FeatureKindOf(const arrow::DataType& type, std::string_view name);

/// One double per row: integers, floats, decimals, bools as 0 and 1, times as microseconds, and
/// dictionaries of those. Null, NaN and infinite values are NaN. REQUIRES: the kind is kNumber or
/// kNothing.
Result<std::vector<double>> NumberColumn(const arrow::Array& array);

/// Views into `array`, nullopt for nulls. REQUIRES: the kind is kText or kNothing.
Result<std::vector<std::optional<std::string_view>>> TextColumn(const arrow::Array& array);

}  // namespace gnomon::model
