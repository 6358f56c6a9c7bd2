#include "dataset/plan.h"

#include <array>
#include <map>
#include <set>

#include <arrow/table.h>
#include <arrow/type.h>

#include "base/text.h"
#include "base/time.h"
#include "dataset/plan_internal.h"
#include "expr/expression.h"

namespace gnomon::dataset {

namespace {

using internal::Overloaded;

constexpr std::array<std::string_view, std::variant_size_v<NodeSpec>> kNames = {
    "scan",     "range",       "table",          "input",     "project",   "filter",
    "derive",   "map_batches", "join",           "aggregate", "sort",      "repartition",
    "union",    "limit",       "sample",         "write",     "asof_join", "window_aggregate",
    "external", "latest",      "external_write", "time_range"};

constexpr std::array<std::pair<JoinType, std::string_view>, 5> kJoinTypes = {
    {{JoinType::kInner, "inner"},
     {JoinType::kLeft, "left"},
     {JoinType::kSemi, "semi"},
     {JoinType::kAnti, "anti"},
     {JoinType::kFull, "full"}}};

size_t NumInputs(const NodeSpec& spec) {
  return std::visit(
      Overloaded{
          [](const ScanSpec&) { return size_t{0}; }, [](const RangeSpec&) { return size_t{0}; },
          [](const TableSpec&) { return size_t{0}; }, [](const InputSpec&) { return size_t{0}; },
          [](const ExternalSpec&) { return size_t{0}; }, [](const JoinSpec&) { return size_t{2}; },
          [](const AsOfJoinSpec&) { return size_t{2}; },
          [](const WindowAggregateSpec&) { return size_t{2}; },
          [](const auto&) { return size_t{1}; }},
      spec);
}

Status CheckInputs(const NodeSpec& spec, const std::vector<Plan>& inputs) {
  const std::string_view name = kNames[spec.index()];
  for (const Plan& input : inputs) {
    if (input == nullptr) return Error(ErrorKind::kUser, name, ": an input is missing");
  }
  if (std::holds_alternative<UnionSpec>(spec)) {
    if (inputs.empty()) return Error(ErrorKind::kUser, "union: needs at least one input");
    return Status::OK();
  }
  if (inputs.size() == NumInputs(spec)) return Status::OK();
  return Error(ErrorKind::kUser, name, ": expected ", NumInputs(spec), " inputs, got ",
               inputs.size());
}

std::string Listed(const std::vector<std::string>& names) {
  constexpr size_t kShown = 12;
  if (names.size() <= kShown) return Join(names, ", ");
  const std::vector<std::string> first(names.begin(), names.begin() + kShown);
  return Concat(Join(first, ", "), ", ... (", names.size(), ")");
}

std::string Listed(const std::vector<NamedExpression>& expressions) {
  std::vector<std::string> texts;
  for (const NamedExpression& named : expressions) {
    std::string text = named.expression == ColumnExpression(named.name)
                           ? named.name
                           : Concat(named.name, " = ", named.expression);
    if (named.type != nullptr) text += Concat(" as ", named.type->ToString());
    texts.push_back(std::move(text));
  }
  return Listed(texts);
}

std::string DescribeScan(const ScanSpec& spec) {
  std::string text = spec.files.empty() ? std::string("no files") : spec.files[0].path;
  if (spec.files.size() > 1) text += Concat(" and ", spec.files.size() - 1, " more files");
  for (const ScanFile& file : spec.files) {
    if (file.num_parts == 1) continue;
    text += Concat(", part ", file.part + 1, " of ", file.num_parts, " of ", file.path);
  }
  if (spec.columns) text += Concat(", columns: ", Listed(*spec.columns));
  if (!spec.predicates.empty()) text += Concat(", where: ", Join(spec.predicates, " and "));
  if (spec.limit) text += Concat(", limit: ", *spec.limit);
  return text;
}

std::string DescribeSort(const SortSpec& spec) {
  std::vector<std::string> keys;
  for (const SortKey& key : spec.keys) {
    keys.push_back(Concat(key.column, key.descending ? " descending" : "",
                          key.nulls_first ? " nulls first" : ""));
  }
  return Concat("by ", Listed(keys), spec.limit ? Concat(", first ", *spec.limit) : std::string());
}

std::string DescribeAggregate(const AggregateSpec& spec) {
  std::vector<std::string> items;
  for (const AggregateItem& item : spec.items) {
    const std::string function =
        item.custom != nullptr ? item.custom->name() : std::string(pit::NameOf(item.function));
    items.push_back(Concat(item.name, " = ", function, "(", item.column, ")"));
  }
  return Concat(spec.keys.empty() ? "all rows" : "by ", Listed(spec.keys), ": ", Listed(items));
}

std::string DescribeMatch(const TimeMatch& match) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < match.left_keys.size(); ++i) {
    parts.push_back(match.left_keys[i] == match.right_keys[i]
                        ? match.left_keys[i]
                        : Concat(match.left_keys[i], " = ", match.right_keys[i]));
  }
  std::string text = parts.empty() ? std::string("without keys") : Concat("by ", Listed(parts));
  text += Concat(", ", match.right_time, " up to ", match.left_time);
  if (!match.created.empty()) text += Concat(", then by ", match.created);
  if (match.filter_by_created) text += ", created by then";
  if (match.created_before) {
    text += Concat(", created until ", FormatTimestamp(*match.created_before));
  }
  return text;
}

std::string DescribeAsOf(const AsOfJoinSpec& spec) {
  std::vector<std::string> features;
  for (const AsOfFeature& feature : spec.features) {
    features.push_back(feature.name == feature.column
                           ? feature.name
                           : Concat(feature.name, " = ", feature.column));
  }
  return Concat(DescribeMatch(spec.match),
                spec.tolerance > 0 ? Concat(", at most ", FormatDuration(spec.tolerance), " old")
                                   : std::string(),
                ": ", Listed(features));
}

std::string DescribeWindows(const WindowAggregateSpec& spec) {
  std::vector<std::string> items;
  for (const WindowItem& item : spec.items) {
    const std::string function =
        item.custom != nullptr ? item.custom->name() : std::string(pit::NameOf(item.function));
    items.push_back(Concat(
        item.name, " = ", function, "(", item.column, ") ",
        item.window ? Concat("over ", FormatDuration(*item.window)) : std::string("over all")));
  }
  return Concat(DescribeMatch(spec.match), ": ", Listed(items));
}

std::string DescribeLatest(const LatestSpec& spec) {
  std::string text =
      Concat(spec.keys.empty() ? "all rows" : "by ", Listed(spec.keys), ", newest by ", spec.time);
  if (!spec.created.empty()) text += Concat(", then by ", spec.created);
  if (spec.first) text += Concat(", from ", FormatTimestamp(*spec.first));
  if (spec.last) text += Concat(", until ", FormatTimestamp(*spec.last));
  if (!spec.sums.empty()) text += Concat(", sums of ", Listed(spec.sums));
  return text;
}

std::string DescribeTimeRange(const TimeRangeSpec& spec) {
  std::string text = spec.time;
  if (spec.first) text += Concat(", from ", FormatTimestamp(*spec.first));
  if (spec.last) text += Concat(", until ", FormatTimestamp(*spec.last));
  if (spec.created_before)
    text += Concat(", ", spec.created, " until ", FormatTimestamp(*spec.created_before));
  if (!spec.name.empty())
    text += Concat(", as ", spec.name, " in ", arrow::timestamp(spec.unit)->ToString());
  return text;
}

std::string DescribeSpec(const NodeSpec& node) {
  const Overloaded describe{
      [](const ScanSpec& spec) { return DescribeScan(spec); },
      [](const RangeSpec& spec) {
        return Concat(spec.name, " from ", spec.begin, " to ", spec.end, " by ", spec.step);
      },
      [](const TableSpec& spec) { return Concat(spec.table->num_rows(), " rows in memory"); },
      [](const InputSpec& spec) { return spec.name; },
      [](const ExternalSpec& spec) {
        return Concat(spec.source, ", ", spec.description, ", ", spec.parts.size(), " parts");
      },
      [](const ProjectSpec& spec) { return Listed(spec.expressions); },
      [](const FilterSpec& spec) { return spec.predicate; },
      [](const DeriveSpec& spec) { return Listed(spec.expressions); },
      [](const MapBatchesSpec& spec) {
        return spec.row_wise ? Concat(spec.function, ", row by row")
                             : Concat(spec.function, ", ", spec.rows_per_call, " rows a call");
      },
      [](const JoinSpec& spec) {
        return Concat(NameOf(spec.type), ": ", Listed(spec.left_keys), " = ",
                      Listed(spec.right_keys));
      },
      [](const AggregateSpec& spec) { return DescribeAggregate(spec); },
      [](const AsOfJoinSpec& spec) { return DescribeAsOf(spec); },
      [](const WindowAggregateSpec& spec) { return DescribeWindows(spec); },
      [](const LatestSpec& spec) { return DescribeLatest(spec); },
      [](const TimeRangeSpec& spec) { return DescribeTimeRange(spec); },
      [](const SortSpec& spec) { return DescribeSort(spec); },
      [](const RepartitionSpec& spec) {
        return Concat(spec.num_partitions, spec.keys.empty() ? " round robin" : " by hash of ",
                      Listed(spec.keys));
      },
      [](const UnionSpec&) { return std::string(); },
      [](const LimitSpec& spec) {
        return Concat(spec.limit, spec.offset > 0 ? Concat(" after ", spec.offset) : std::string());
      },
      [](const SampleSpec& spec) { return Concat(spec.fraction, ", seed ", spec.seed); },
      [](const ExternalWriteSpec& spec) {
        return Concat(spec.sink, ", ", spec.description,
                      spec.keys.empty() ? std::string() : Concat(", by ", Listed(spec.keys)),
                      spec.num_partitions == 0
                          ? std::string()
                          : Concat(", ", spec.num_partitions,
                                   spec.num_partitions == 1 ? " partition" : " partitions"));
      },
      [](const WriteSpec& spec) {
        std::string text = spec.path;
        if (!spec.partition_by.empty())
          text += Concat(", partitioned by ", Listed(spec.partition_by));
        if (spec.rows_per_file > 0) text += Concat(", ", spec.rows_per_file, " rows a file");
        return text;
      }};
  return std::visit(describe, node);
}

void Format(const Plan& plan, int depth, std::string* out) {
  out->append(static_cast<size_t>(2 * depth), ' ');
  out->append(plan->Describe());
  out->push_back('\n');
  for (const Plan& input : plan->inputs()) Format(input, depth + 1, out);
}

}  // namespace

const char* NameOf(JoinType type) {
  for (const auto& [known, name] : kJoinTypes) {
    if (known == type) return name.data();
  }
  return "unknown";
}

Result<JoinType> ParseJoinType(std::string_view text) {
  std::vector<std::string> names;
  for (const auto& [type, name] : kJoinTypes) {
    if (name == text) return type;
    names.emplace_back(name);
  }
  return MakeError(ErrorKind::kUser,
                   Concat("unknown join type (", Join(names, ", "), "): ", Quoted(text)), {},
                   DidYouMean(text, names));
}

PlanNode::PlanNode(NodeSpec spec, std::vector<Plan> inputs, std::shared_ptr<arrow::Schema> schema)
    : spec_(std::move(spec)), inputs_(std::move(inputs)), schema_(std::move(schema)) {}

std::string_view PlanNode::name() const { return kNames[spec_.index()]; }

std::string PlanNode::Describe() const {
  const std::string details = DescribeSpec(spec_);
  return details.empty() ? std::string(name()) : Concat(name(), ": ", details);
}

Result<Plan> MakeNode(NodeSpec spec, std::vector<Plan> inputs) {
  GNOMON_RETURN_NOT_OK(CheckInputs(spec, inputs));
  const std::string_view name = kNames[spec.index()];
  auto schema = std::visit([&](auto& own) { return internal::CheckSpec(&own, inputs); }, spec);
  GNOMON_RETURN_NOT_OK(WithContext(schema.status(), name));
  GNOMON_RETURN_NOT_OK(internal::CheckNames(**schema, name));
  return std::make_shared<const PlanNode>(std::move(spec), std::move(inputs), *std::move(schema));
}

std::string ColumnExpression(std::string_view name) {
  const auto parsed = expr::Expression::Parse(name);
  if (parsed.ok() && parsed->columns() == std::vector<std::string>{std::string(name)})
    return std::string(name);
  std::string text = "\"";
  for (const char c : name) {
    text.push_back(c);
    if (c == '"') text.push_back('"');
  }
  return text + "\"";
}

std::string FormatPlan(const Plan& plan) {
  std::string text;
  Format(plan, 0, &text);
  return text;
}

}  // namespace gnomon::dataset
