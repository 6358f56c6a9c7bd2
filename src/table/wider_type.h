#pragma once

#include <memory>

#include <arrow/type_fwd.h>

namespace gnomon::table {

/// The type that holds every integer of both; null when the types are not equal and not both
/// integers.
std::shared_ptr<arrow::DataType> WiderType(const std::shared_ptr<arrow::DataType>& left,
                                           const std::shared_ptr<arrow::DataType>& right);

/// The type of a column that is of these types in two files: the widest integer or float, the
/// finest unit of times with the first zone, large texts, decoded dictionaries, the other type of a
/// column of nulls; of lists likewise. Null when there is none.
std::shared_ptr<arrow::DataType> CommonType(const std::shared_ptr<arrow::DataType>& first,
                                            const std::shared_ptr<arrow::DataType>& other);

}  // namespace gnomon::table
