#include <algorithm>
#include <map>
#include <span>

#include <arrow/type.h>

#include "base/text.h"
#include "dataset/asof/binding_internal.h"
#include "table/column.h"
#include "table/key_index.h"

namespace gnomon::dataset::internal {

namespace {

Result<int> FindColumn(const table::PartitionedTable& table, const std::string& name) {
  const std::vector<int> places = table.schema()->GetAllFieldIndices(name);
  if (places.size() == 1) return places[0];
  if (places.size() > 1) {
    return Error(ErrorKind::kUser, table.name(), " has ", places.size(), " columns named ",
                 Quoted(name));
  }
  return MakeError(ErrorKind::kNotFound,
                   Concat("no such column in ", table.name(), ": ", Quoted(name)), {},
                   DidYouMean(name, table.schema()->field_names()));
}

}  // namespace

Result<std::vector<int>> FindColumns(const table::PartitionedTable& table,
                                     const std::vector<std::string>& names) {
  std::vector<int> places;
  for (const std::string& name : names) {
    GNOMON_ASSIGN_OR_RETURN(const int place, FindColumn(table, name));
    places.push_back(place);
  }
  return places;
}

Result<int> FindTime(const table::PartitionedTable& table, const std::string& name) {
  GNOMON_ASSIGN_OR_RETURN(const int place, FindColumn(table, name));
  const auto& type = table.schema()->field(place)->type();
  if (table::IsTime(*type)) return place;
  return MakeError(
      ErrorKind::kUser,
      Concat("column ", Quoted(name), " of ", table.name(), " is no time: ", type->ToString()), {},
      "times are timestamps and dates");
}

namespace {

/// Would keys of these types ever be equal? Both sides are looked up with no rows.
Status CheckKeys(const table::PartitionedTable& left, const BoundFeatures& features) {
  std::vector<std::shared_ptr<arrow::DataType>> types;
  for (const int column : features.left_by) types.push_back(left.schema()->field(column)->type());
  auto index = table::KeyIndex::Make(types);
  if (!index.ok()) return WithContext(index.status(), Concat("keys of ", left.name()));
  arrow::ArrayVector none;
  for (const int column : features.by) {
    GNOMON_ASSIGN_OR_RETURN(
        auto empty, arrow::MakeEmptyArray(features.table().schema()->field(column)->type()));
    none.push_back(std::move(empty));
  }
  return WithContext(index->Find(none, {}),
                     Concat("join keys ", Join(features.request->left_by, ", "), " of ",
                            left.name(), " and ", features.table().name()));
}

Result<BoundFeatures> BindFeatures(const table::PartitionedTable& left,
                                   const AsOfFeatures& request) {
  BoundFeatures bound;
  bound.request = &request;
  if (request.by.size() != request.left_by.size())
    return Error(ErrorKind::kInternal, "both sides have different numbers of keys");
  GNOMON_ASSIGN_OR_RETURN(bound.left_by, FindColumns(left, request.left_by));
  GNOMON_ASSIGN_OR_RETURN(bound.by, FindColumns(*request.table, request.by));
  GNOMON_ASSIGN_OR_RETURN(bound.on, FindTime(*request.table, request.on));
  if (!request.created.empty()) {
    GNOMON_ASSIGN_OR_RETURN(bound.created, FindTime(*request.table, request.created));
  }
  GNOMON_ASSIGN_OR_RETURN(bound.features, FindColumns(*request.table, request.features));
  if (request.tolerance < 0) {
    return Error(ErrorKind::kUser, "the tolerance is negative: ", request.tolerance);
  }
  GNOMON_RETURN_NOT_OK(CheckKeys(left, bound));
  return bound;
}

Status NamedTwice(const std::string& feature, const std::string& table) {
  return MakeError(ErrorKind::kUser,
                   Concat("feature ", Quoted(feature), " of ", table, " is named twice"), {},
                   "name it once");
}

/// Which tables give a column of this name, for messages.
Status Duplicate(const std::string& name, const std::string& first, const std::string& second) {
  return MakeError(ErrorKind::kUser,
                   Concat("output column ", Quoted(name), " would occur twice: from ", first,
                          " and from ", second),
                   {},
                   "choose the features, or ask for full feature names, which begin with their "
                   "table's name");
}

}  // namespace

Result<BoundRequest> BindRequest(const AsOfRequest& request) {
  BoundRequest bound;
  const table::PartitionedTable& left = *request.left;
  GNOMON_ASSIGN_OR_RETURN(bound.on, FindTime(left, request.on));
  arrow::FieldVector fields;
  std::map<std::string, std::string> owners;
  for (const auto& field : left.schema()->fields()) {
    if (!owners.emplace(field->name(), left.name()).second)
      return Duplicate(field->name(), left.name(), left.name());
    fields.push_back(field);
  }
  for (const AsOfFeatures& features : request.right) {
    GNOMON_ASSIGN_OR_RETURN(BoundFeatures right, BindFeatures(left, features));
    for (size_t i = 0; i < right.features.size(); ++i) {
      const auto& field = features.table->schema()->field(right.features[i]);
      const std::string& name = features.outputs.empty() ? field->name() : features.outputs[i];
      const auto [owner, is_new] = owners.emplace(name, features.table->name());
      if (!is_new) {
        const auto before = std::span(right.features).first(i);
        return std::ranges::find(before, right.features[i]) == before.end()
                   ? Duplicate(name, owner->second, features.table->name())
                   : NamedTwice(field->name(), features.table->name());
      }
      fields.push_back(arrow::field(name, field->type()));
    }
    bound.right.push_back(std::move(right));
  }
  bound.schema = arrow::schema(std::move(fields));
  return bound;
}

}  // namespace gnomon::dataset::internal
