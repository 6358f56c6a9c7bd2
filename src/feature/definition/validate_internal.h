#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "feature/definition/definition_internal.h"

/// The checks of Validate, one per noun; each looks at one object and what it refers to. Errors
/// name the object.
namespace gnomon::feature {

Status CheckEntity(const Entity& entity);
Status CheckDataSource(const DataSource& source);
Status CheckFeatureView(const Definitions& definitions, const FeatureView& view);
Status CheckSourceViews(const Definitions& definitions, const FeatureView& view);
Status CheckOnDemandShape(const OnDemandFeatureView& view);
Status CheckFeatureService(const Definitions& definitions, const FeatureService& service);

/// The columns of the rows that a view over views sees, time columns last. REQUIRES: its source
/// views are complete.
Result<arrow::FieldVector> ParentFields(const Definitions& definitions, const FeatureView& view);

/// Characters with a meaning in feature references and table names.
inline constexpr std::string_view kNotInObjectNames = ":@,/'\"";
inline constexpr std::string_view kNotInColumnNames = ":,";

bool IsUtf8(std::string_view text);

/// What is wrong with a name that may hold none of `forbidden`; empty when nothing is.
std::string NameProblem(std::string_view name, std::string_view forbidden);

Status CheckTags(std::string_view kind, const std::string& name, const Tags& tags);

/// Names, uniqueness and texts of a list of fields; `what` names one in errors.
Status CheckFields(std::string_view kind, const std::string& owner, std::string_view what,
                   const std::vector<Field>& fields);

/// Syntax only.
Status CheckExpression(std::string_view kind, const std::string& owner, std::string_view what,
                       std::string_view text);

template <typename Object>
std::vector<std::string> NamesOf(const std::vector<Object>& objects) {
  std::vector<std::string> names;
  for (const Object& object : objects) names.push_back(object.name);
  return names;
}

}  // namespace gnomon::feature
