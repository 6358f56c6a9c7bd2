#include <algorithm>
#include <set>

#include <arrow/type.h>
#include <arrow/util/checked_cast.h>

#include "base/text.h"
#include "dataset/key_encoding_internal.h"
#include "dataset/plan_internal.h"
#include "expr/expression.h"
#include "table/column.h"
#include "table/file_system.h"
#include "table/wider_type.h"

/// Nodes that look at many rows: join, aggregate, sort, repartition, union, write.
namespace gnomon::dataset::internal {

namespace {

using DataTypePtr = std::shared_ptr<arrow::DataType>;

constexpr int kMostPartitions = 4096;

Status CheckKeys(const arrow::Schema& schema, const std::vector<std::string>& keys, KeyUse use) {
  GNOMON_ASSIGN_OR_RETURN(const auto columns, FindColumns(schema, keys, ""));
  std::set<std::string_view> seen;
  for (const int column : columns) {
    const arrow::Field& field = *schema.field(column);
    GNOMON_RETURN_NOT_OK(WithContext(CheckKeyType(*field.type(), use), Quoted(field.name())));
    if (!seen.insert(field.name()).second)
      return Error(ErrorKind::kUser, "a key is named twice: ", Quoted(field.name()));
  }
  return Status::OK();
}

Status CheckJoinKeys(const JoinSpec& spec, const arrow::Schema& left, const arrow::Schema& right) {
  if (spec.left_keys.empty()) return Error(ErrorKind::kUser, "has no keys");
  GNOMON_RETURN_NOT_OK(CheckKeyPairs(left, spec.left_keys, right, spec.right_keys));
  for (size_t i = 0; spec.type == JoinType::kFull && i < spec.left_keys.size(); ++i) {
    const auto& left_type = left.GetFieldByName(spec.left_keys[i])->type();
    const auto& right_type = right.GetFieldByName(spec.right_keys[i])->type();
    if (CommonKeyType(left_type, right_type) != nullptr) continue;
    return WithContext(
        Error(ErrorKind::kUser, "no type holds the keys of both sides of a full join: ",
              left_type->ToString(), " and ", right_type->ToString()),
        Concat(spec.left_keys[i], " = ", spec.right_keys[i]));
  }
  return Status::OK();
}

Status NameTaken(const std::string& name) {
  return MakeError(ErrorKind::kUser,
                   Concat("both sides have a column of this name: ", Quoted(name)), {},
                   "set right_suffix, or leave the column out on one side");
}

// Two values are two folders: their texts differ, too. Those of nanosecond timestamps are made
// where they are written.
Status CheckPartitionText(const arrow::Schema& schema, const std::string& name) {
  GNOMON_ASSIGN_OR_RETURN(const auto text, expr::Expression::Parse(PartitionText(name)));
  GNOMON_RETURN_NOT_OK(text.Bind(schema).status());
  const arrow::DataType& type = *schema.GetFieldByName(name)->type();
  constexpr int32_t kExactDigits = 15;  // of a double
  const bool is_exact =
      type.id() == arrow::Type::DURATION
          ? static_cast<const arrow::DurationType&>(type).unit() != arrow::TimeUnit::NANO
          : !arrow::is_decimal(type.id()) ||
                static_cast<const arrow::DecimalType&>(type).precision() <= kExactDigits;
  if (is_exact) return Status::OK();
  return MakeError(ErrorKind::kUser,
                   Concat("texts do not tell values of this type apart: ", type.ToString()), {},
                   "derive a text or an integer from it");
}

}  // namespace

std::string PartitionText(const std::string& column) {
  return Concat("cast(", ColumnExpression(column), " as string)");
}

Status CheckKeyColumns(const arrow::Schema& schema, const std::vector<std::string>& keys) {
  return CheckKeys(schema, keys, KeyUse::kOrder);
}

Status CheckKeyPairs(const arrow::Schema& left, const std::vector<std::string>& left_keys,
                     const arrow::Schema& right, const std::vector<std::string>& right_keys) {
  if (left_keys.size() != right_keys.size()) {
    return Error(ErrorKind::kUser, "has ", left_keys.size(), " keys on the left and ",
                 right_keys.size(), " on the right");
  }
  GNOMON_RETURN_NOT_OK(WithContext(CheckKeys(left, left_keys, KeyUse::kJoin), "left"));
  GNOMON_RETURN_NOT_OK(WithContext(CheckKeys(right, right_keys, KeyUse::kJoin), "right"));
  for (size_t i = 0; i < left_keys.size(); ++i) {
    const Status status = CheckComparable(*left.GetFieldByName(left_keys[i])->type(),
                                          *right.GetFieldByName(right_keys[i])->type());
    GNOMON_RETURN_NOT_OK(WithContext(status, Concat(left_keys[i], " = ", right_keys[i])));
  }
  return Status::OK();
}

DataTypePtr CommonKeyType(const DataTypePtr& left, const DataTypePtr& right) {
  if (const auto wider = table::WiderType(left, right)) return wider;
  if (left->id() == arrow::Type::NA) return right;
  if (right->id() == arrow::Type::NA) return left;
  if (table::IsTime(*left) && table::IsTime(*right))
    return table::UnitNanos(*left) <= table::UnitNanos(*right) ? left : right;
  const auto decoded = [](const DataTypePtr& type) {
    return type->id() != arrow::Type::DICTIONARY
               ? type
               : arrow::internal::checked_cast<const arrow::DictionaryType&>(*type).value_type();
  };
  const DataTypePtr a = decoded(left);
  const DataTypePtr b = decoded(right);
  if (a != left || b != right) return CommonKeyType(a, b);
  if (arrow::is_string(a->id()) && arrow::is_string(b->id())) return arrow::large_utf8();
  if (arrow::is_base_binary_like(a->id()) && arrow::is_base_binary_like(b->id()))
    return arrow::large_binary();
  return nullptr;
}

SchemaResult CheckSpec(JoinSpec* spec, const std::vector<Plan>& inputs) {
  const arrow::Schema& left = *inputs[0]->schema();
  const arrow::Schema& right = *inputs[1]->schema();
  if (spec->right_keys.empty()) spec->right_keys = spec->left_keys;
  GNOMON_RETURN_NOT_OK(CheckJoinKeys(*spec, left, right));
  arrow::FieldVector fields = left.fields();
  if (spec->type == JoinType::kSemi || spec->type == JoinType::kAnti) return arrow::schema(fields);
  if (spec->type == JoinType::kFull) {
    for (auto& field : fields) field = field->WithNullable(true);
    for (size_t i = 0; i < spec->left_keys.size(); ++i) {
      auto& field = fields[static_cast<size_t>(left.GetFieldIndex(spec->left_keys[i]))];
      field = field->WithType(
          CommonKeyType(field->type(), right.GetFieldByName(spec->right_keys[i])->type()));
    }
  }
  std::set<std::string> names;
  for (const auto& field : fields) names.insert(field->name());
  for (const auto& field : right.fields()) {
    if (std::ranges::find(spec->right_keys, field->name()) != spec->right_keys.end()) continue;
    const bool taken = names.contains(field->name());
    if (taken && spec->right_suffix.empty()) return NameTaken(field->name());
    auto output = field->WithName(taken ? field->name() + spec->right_suffix : field->name());
    if (!names.insert(output->name()).second) return NameTaken(output->name());
    if (spec->type != JoinType::kInner) output = output->WithNullable(true);
    fields.push_back(std::move(output));
  }
  return arrow::schema(std::move(fields));
}

SchemaResult CheckSpec(AggregateSpec* spec, const std::vector<Plan>& inputs) {
  using pit::AggregateFunction;
  const arrow::Schema& input = *inputs[0]->schema();
  GNOMON_RETURN_NOT_OK(CheckKeys(input, spec->keys, KeyUse::kOrder));
  arrow::FieldVector fields;
  for (const std::string& key : spec->keys) fields.push_back(input.GetFieldByName(key));
  for (AggregateItem& item : spec->items) {
    const bool counts = item.function == AggregateFunction::kCount ||
                        item.function == AggregateFunction::kCountDistinct;
    const std::string name =
        item.custom != nullptr ? item.custom->name() : std::string(pit::NameOf(item.function));
    if (item.name.empty()) item.name = item.column.empty() ? name : Concat(item.column, "_", name);
    if ((item.function == AggregateFunction::kCustom) != (item.custom != nullptr))
      return Error(ErrorKind::kUser, Quoted(item.name), " names no plug-in's aggregate, or two");
    if (item.column.empty()) {
      if (item.function != AggregateFunction::kCount)
        return Error(ErrorKind::kUser, Quoted(item.name), " needs a column to aggregate");
      fields.push_back(arrow::field(item.name, arrow::int64(), false));
      continue;
    }
    GNOMON_ASSIGN_OR_RETURN(const int column, FindColumn(input, item.column, ""));
    auto type = pit::ResultType({.function = item.function,
                                 .k = item.k,
                                 .quantile = item.quantile,
                                 .ddof = item.ddof,
                                 .custom = item.custom},
                                *input.field(column)->type());
    GNOMON_RETURN_NOT_OK(WithContext(type.status(), Quoted(item.column)));
    fields.push_back(arrow::field(item.name, *type, !counts));
  }
  return arrow::schema(std::move(fields));
}

SchemaResult CheckSpec(SortSpec* spec, const std::vector<Plan>& inputs) {
  std::vector<std::string> names;
  for (const SortKey& key : spec->keys) names.push_back(key.column);
  GNOMON_RETURN_NOT_OK(CheckKeys(*inputs[0]->schema(), names, KeyUse::kOrder));
  if (spec->limit && *spec->limit < 0) return Error(ErrorKind::kUser, "a negative limit");
  return inputs[0]->schema();
}

SchemaResult CheckSpec(RepartitionSpec* spec, const std::vector<Plan>& inputs) {
  if (spec->num_partitions < 1 || spec->num_partitions > kMostPartitions) {
    return Error(ErrorKind::kUser, "number of partitions is not in 1 to ", kMostPartitions, ": ",
                 spec->num_partitions);
  }
  GNOMON_RETURN_NOT_OK(CheckKeys(*inputs[0]->schema(), spec->keys, KeyUse::kOrder));
  return inputs[0]->schema();
}

SchemaResult CheckSpec(UnionSpec* /*spec*/, const std::vector<Plan>& inputs) {
  arrow::FieldVector fields = inputs[0]->schema()->fields();
  for (size_t i = 1; i < inputs.size(); ++i) {
    const arrow::Schema& other = *inputs[i]->schema();
    if (other.field_names() != inputs[0]->schema()->field_names()) {
      return MakeError(ErrorKind::kUser,
                       Concat("input ", i, " has other columns than the first: ",
                              Join(other.field_names(), ", "), " instead of ",
                              Join(inputs[0]->schema()->field_names(), ", ")),
                       {}, "bring them to the same names and order with a projection");
    }
    for (size_t column = 0; column < fields.size(); ++column) {
      const auto& field = other.field(static_cast<int>(column));
      const auto type = table::WiderType(fields[column]->type(), field->type());
      if (type == nullptr) {
        return Error(ErrorKind::kUser, "column ", Quoted(field->name()), " of input ", i, " is ",
                     field->type()->ToString(), ", of the first input ",
                     fields[column]->type()->ToString());
      }
      fields[column] = fields[column]->WithType(type)->WithNullable(fields[column]->nullable() ||
                                                                    field->nullable());
    }
  }
  return arrow::schema(std::move(fields));
}

SchemaResult CheckSpec(WriteSpec* spec, const std::vector<Plan>& inputs) {
  if (spec->path.empty()) return Error(ErrorKind::kUser, "has no path");
  if (spec->row_group_rows <= 0)
    return Error(ErrorKind::kUser, "row_group_rows is not positive: ", spec->row_group_rows);
  if (spec->rows_per_file < 0 || spec->first_file < 0)
    return Error(ErrorKind::kUser, "rows_per_file or first_file is negative");
  const bool is_folder = !spec->partition_by.empty() || spec->rows_per_file > 0;
  if (is_folder && table::IsObjectPath(spec->path)) {
    return MakeError(
        ErrorKind::kUnsupported,
        Concat("a folder of objects cannot take another's place at once: ", spec->path), {},
        "write one object without partition_by, or a local folder and copy it");
  }
  const arrow::Schema& input = *inputs[0]->schema();
  GNOMON_RETURN_NOT_OK(CheckKeys(input, spec->partition_by, KeyUse::kJoin));
  for (const std::string& name : spec->partition_by) {
    GNOMON_RETURN_NOT_OK(
        WithContext(CheckPartitionText(input, name), Concat("partition_by ", Quoted(name))));
  }
  if (!spec->partition_by.empty() &&
      spec->partition_by.size() == static_cast<size_t>(input.num_fields())) {
    return Error(ErrorKind::kUser, "partition_by leaves no column for the files");
  }
  if (!spec->format && is_folder) spec->format = table::FileFormat::kParquet;
  if (!spec->format) {
    GNOMON_ASSIGN_OR_RETURN(spec->format, table::FormatOfPath(spec->path));
  }
  return arrow::schema(
      {arrow::field("path", arrow::utf8(), false), arrow::field("rows", arrow::int64(), false)});
}

SchemaResult CheckSpec(ExternalWriteSpec* spec, const std::vector<Plan>& inputs) {
  if (spec->writer == nullptr)
    return Error(ErrorKind::kUser, "there is no sink ", Quoted(spec->sink));
  if (spec->num_partitions < 0 || spec->num_partitions > kMostPartitions) {
    return Error(ErrorKind::kUser, "number of partitions is not in 0 to ", kMostPartitions, ": ",
                 spec->num_partitions);
  }
  GNOMON_RETURN_NOT_OK(CheckKeyColumns(*inputs[0]->schema(), spec->keys));
  return arrow::schema({arrow::field("token", arrow::binary(), false)});
}

}  // namespace gnomon::dataset::internal
