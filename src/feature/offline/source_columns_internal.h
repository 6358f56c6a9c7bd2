#pragma once

#include <memory>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "feature/definition/definition.h"

namespace gnomon::feature {

/// An error with the source's name before it.
Status InSource(const DataSource& source, const Status& status);

/// The name in the source of a column's name after mapping.
std::string SourceName(const DataSource& source, const std::string& column);

/// kNotFound for a column that none of `known` (names after mapping) is, with the nearest.
Status UnknownColumn(const DataSource& source, const std::string& column,
                     const std::vector<std::string>& known);

/// The name after mapping of a column of the source.
std::string MappedName(const DataSource& source, const std::string& column);

/// MappedSchema of all of the source's columns: kUser when field_mapping names one that is not
/// there.
Result<std::shared_ptr<arrow::Schema>> SchemaUnderMappedNames(const DataSource& source,
                                                              const arrow::Schema& schema);

/// The schema under the names that field_mapping gives; kUser when two columns get one name.
Result<std::shared_ptr<arrow::Schema>> MappedSchema(const DataSource& source,
                                                    const arrow::Schema& schema);

/// The rows in the columns and types of the source's schema (after mapping); a column that they
/// lack is null. kUser for a column that the source lacks, and a value that its type cannot hold.
Result<std::shared_ptr<const arrow::Table>> ConformRows(const DataSource& source,
                                                        const arrow::Table& rows,
                                                        const arrow::Schema& schema);

}  // namespace gnomon::feature
