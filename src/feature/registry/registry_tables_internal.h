#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "feature/registry/registry_file_internal.h"

/// The tables of a registry in a database: Feast's, and ours with the prefix gnomon_.
namespace gnomon::feature {

inline constexpr std::string_view kProjectsTable = "projects";
inline constexpr std::string_view kMetadataTable = "feast_metadata";
inline constexpr std::string_view kSideTable = "gnomon_projects";
inline constexpr std::string_view kJobsTable = "gnomon_jobs";
inline constexpr std::string_view kVersionsTable = "gnomon_versions";
inline constexpr std::string_view kFeatureViewsTable = "feature_views";
inline constexpr std::string_view kHistoryTable = "feature_view_version_history";

/// A table whose rows are read and written: a row is known by its project and name.
struct RegistryTable {
  std::string_view name;
  std::string_view name_column;
  std::string_view value_column;
  bool is_text = false;  ///< the value; bytes otherwise
};
std::span<const RegistryTable> RegistryTables();

/// Feast's tables of which rows are only deleted, with their project.
std::span<const std::string_view> OtherTables();

/// CREATE statements for all tables and their indexes, each for what is missing.
std::vector<std::string> CreateStatements(std::string_view bytes_type);

/// The rows of what `content` holds of the project, but for the version's.
RegistryRows RowsOf(const RegistryContent& content, const std::string& project);

/// Puts a row into `content`. kDataLoss for bytes that do not parse.
Status AddRow(std::string_view table, const std::string& name, const std::string& bytes,
              const std::string& project, RegistryContent* content);

}  // namespace gnomon::feature
