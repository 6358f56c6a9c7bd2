#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "dataset/distributed/shared_scan_internal.h"
#include "dataset/distributed/source_parts_internal.h"
#include "dataset/distributed/stage_cutter_internal.h"
#include "expr/expression.h"
#include "expr/predicate.h"

namespace gnomon::dataset::internal {

namespace {

using Names = std::set<std::string>;

// One read of the files has less to open and to decompress than several: worth this much more.
constexpr double kWorthOfOneRead = 1.25;
// Of the rows that a scan without a bound reads, those that one with a bound needs, for all that is
// known.
constexpr double kUnknownShare = 0.5;

const ScanSpec& SpecOf(const Plan& scan) { return std::get<ScanSpec>(scan->spec()); }

bool SameSchema(const std::shared_ptr<arrow::Schema>& one,
                const std::shared_ptr<arrow::Schema>& other) {
  if (one == nullptr || other == nullptr) return one == other;
  return one->Equals(*other);
}

std::string NameInPlan(const ScanSpec& spec, const std::string& source) {
  const auto mapped = std::ranges::find(spec.field_mapping, source, &FieldMapping::source);
  return mapped == spec.field_mapping.end() ? source : mapped->name;
}

/// Adds the columns of another scan. False when one of them has another type or name here.
bool AddFileColumns(const ScanSpec& other, ScanSpec* merged) {
  arrow::FieldVector fields = merged->file_schema->fields();
  for (const auto& field : other.file_schema->fields()) {
    const auto known = merged->file_schema->GetFieldByName(field->name());
    const std::string name = NameInPlan(other, field->name());
    if (known != nullptr) {
      if (!known->Equals(*field) || NameInPlan(*merged, field->name()) != name) return false;
      continue;
    }
    fields.push_back(field);
    if (name != field->name()) merged->field_mapping.push_back({field->name(), name});
  }
  merged->file_schema = arrow::schema(std::move(fields));
  return true;
}

struct Bounds {
  std::map<std::pair<std::string, bool>, expr::Bound> by_side;  ///< column, is_upper

  const expr::Bound* Find(const std::string& column, bool is_upper) const {
    const auto found = by_side.find({column, is_upper});
    return found == by_side.end() ? nullptr : &found->second;
  }
};

Result<Bounds> BoundsOf(const ScanSpec& spec) {
  Bounds bounds;
  for (const std::string& text : spec.predicates) {
    GNOMON_ASSIGN_OR_RETURN(const auto predicate, expr::Expression::Parse(text));
    for (expr::Bound& bound : expr::BoundsOf(predicate))
      bounds.by_side.try_emplace({bound.column, bound.is_upper}, std::move(bound));
  }
  return bounds;
}

/// The constant of a bound of a timestamp column.
std::optional<double> TimeOf(const expr::Bound* bound) {
  if (bound == nullptr || bound->constant.empty()) return std::nullopt;
  const auto parsed = expr::Expression::Parse(bound->constant);
  if (!parsed.ok()) return std::nullopt;
  const auto bound_expression = parsed->Bind(*arrow::schema(arrow::FieldVector{}));
  if (!bound_expression.ok()) return std::nullopt;
  const auto row = arrow::RecordBatch::Make(arrow::schema(arrow::FieldVector{}), 1,
                                            std::vector<std::shared_ptr<arrow::Array>>{});
  const auto value = bound_expression->Evaluate(*row);
  if (!value.ok() || (*value)->type_id() != arrow::Type::TIMESTAMP || (*value)->IsNull(0))
    return std::nullopt;
  return static_cast<double>(static_cast<const arrow::TimestampArray&>(**value).Value(0));
}

/// About how much of what all of them together read of a time column each of them reads.
std::vector<double> SharesOfTime(const std::vector<Bounds>& members, const std::string& column) {
  std::vector<double> shares(members.size(), 1);
  std::optional<double> first;
  std::optional<double> last;
  bool all_bounded = true;
  std::array<bool, 2> open = {false, false};
  for (const Bounds& each : members) {
    const auto low = TimeOf(each.Find(column, false));
    const auto high = TimeOf(each.Find(column, true));
    open[0] = open[0] || !low;
    open[1] = open[1] || !high;
    all_bounded = all_bounded && (low || high);
    if (low) first = std::min(first.value_or(*low), *low);
    if (high) last = std::max(last.value_or(*high), *high);
  }
  for (size_t i = 0; i < members.size(); ++i) {
    const auto low = TimeOf(members[i].Find(column, false));
    const auto high = TimeOf(members[i].Find(column, true));
    if ((low && open[0]) || (high && open[1])) {
      shares[i] = all_bounded ? kUnknownShare : 0;
    } else if (low && high && *last > *first) {
      shares[i] = std::clamp((*high - *low) / (*last - *first), 0.0, 1.0);
    }
  }
  return shares;
}

Names TimeColumns(const std::vector<Bounds>& members) {
  Names columns;
  for (const Bounds& each : members) {
    for (const auto& [side, bound] : each.by_side) {
      if (TimeOf(&bound)) columns.insert(side.first);
    }
  }
  return columns;
}

/// Does one scan decode about as much as the scans one after the other?
bool IsWorthIt(const std::vector<Plan>& scans, const std::vector<Bounds>& bounds,
               const arrow::Schema& merged) {
  std::vector<double> shares(scans.size(), 1);
  for (const std::string& column : TimeColumns(bounds)) {
    const auto of_column = SharesOfTime(bounds, column);
    for (size_t i = 0; i < shares.size(); ++i) shares[i] *= of_column[i];
  }
  double apart = 0;
  for (size_t i = 0; i < scans.size(); ++i) apart += shares[i] * RowWidth(*scans[i]->schema());
  return RowWidth(merged) <= kWorthOfOneRead * apart;
}

/// What is asked of the rows in every scan.
std::vector<std::string> CommonPredicates(const std::vector<Plan>& scans) {
  std::vector<std::string> common;
  for (const std::string& text : SpecOf(scans[0]).predicates) {
    const bool everywhere = std::ranges::all_of(scans, [&](const Plan& scan) {
      const auto& predicates = SpecOf(scan).predicates;
      return std::ranges::find(predicates, text) != predicates.end();
    });
    if (everywhere) common.push_back(text);
  }
  return common;
}

/// The outermost bounds, of the columns that every scan bounds on that side, but for what all have.
std::vector<std::string> OuterBounds(const std::vector<Bounds>& members) {
  std::vector<std::string> outer;
  for (const auto& [side, bound] : members[0].by_side) {
    std::vector<std::string> texts;
    for (const Bounds& each : members) {
      const expr::Bound* const other = each.Find(side.first, side.second);
      if (other == nullptr) break;
      texts.push_back(other->comparison.text());
    }
    if (texts.size() < members.size()) continue;
    std::ranges::sort(texts);
    texts.erase(std::ranges::unique(texts).begin(), texts.end());
    if (texts.size() > 1) outer.push_back(Join(texts, " or "));
  }
  return outer;
}

Result<Plan> RowsOfMember(const Plan& scan, const std::vector<std::string>& common,
                          const std::shared_ptr<arrow::Schema>& merged) {
  GNOMON_ASSIGN_OR_RETURN(Plan rows, MakeNode(InputSpec{.name = kSourceInput, .schema = merged}));
  std::vector<std::string> own;
  for (const std::string& text : SpecOf(scan).predicates) {
    if (std::ranges::find(common, text) == common.end()) own.push_back(text);
  }
  if (!own.empty()) {
    const std::string all = own.size() == 1 ? own[0] : Concat("(", Join(own, ") and ("), ")");
    GNOMON_ASSIGN_OR_RETURN(rows, MakeNode(FilterSpec{all}, {rows}));
  }
  if (rows->schema()->field_names() == scan->schema()->field_names()) return rows;
  ProjectSpec project;
  for (const std::string& name : scan->schema()->field_names())
    project.expressions.push_back({name, ColumnExpression(name)});
  return MakeNode(std::move(project), {std::move(rows)});
}

/// All columns that one of the scans gives or asks about, in the order of the files.
Result<std::vector<std::string>> ColumnsToRead(const std::vector<Plan>& scans,
                                               const arrow::Schema& all) {
  Names needed;
  for (const Plan& scan : scans) {
    for (const auto& field : scan->schema()->fields()) needed.insert(field->name());
    for (const std::string& text : SpecOf(scan).predicates) {
      GNOMON_ASSIGN_OR_RETURN(const auto predicate, expr::Expression::Parse(text));
      for (const std::string& column : predicate.columns()) needed.insert(column);
    }
  }
  std::vector<std::string> columns;
  for (const auto& field : all.fields()) {
    if (needed.contains(field->name())) columns.push_back(field->name());
  }
  return columns;
}

/// The files with the columns of all scans; null when they do not go together.
Result<Plan> WithAllColumns(const std::vector<Plan>& scans, std::vector<std::string> predicates) {
  ScanSpec merged = SpecOf(scans[0]);
  for (const Plan& scan : scans) {
    const ScanSpec& spec = SpecOf(scan);
    if (!ReadSameFiles(merged, spec) || !AddFileColumns(spec, &merged)) return Plan();
    merged.pruned = merged.pruned || spec.pruned;
  }
  merged.columns.reset();
  merged.predicates = std::move(predicates);
  // Columns of two names in the files may have one name in the plan.
  const auto all = MakeNode(merged);
  if (!all.ok()) return Plan();
  GNOMON_ASSIGN_OR_RETURN(merged.columns, ColumnsToRead(scans, *(*all)->schema()));
  return MakeNode(std::move(merged));
}

}  // namespace

bool ReadSameFiles(const ScanSpec& one, const ScanSpec& other) {
  const auto same = [](const ScanFile& left, const ScanFile& right) {
    return left.path == right.path && left.format == right.format && left.size == right.size &&
           left.modified_nanos == right.modified_nanos && left.part == right.part &&
           left.num_parts == right.num_parts && left.partition_values == right.partition_values;
  };
  return !one.limit && !other.limit && one.declared == other.declared &&
         SameSchema(one.partition_schema, other.partition_schema) &&
         (one.declared || SameSchema(one.file_schema, other.file_schema)) && !one.files.empty() &&
         std::ranges::equal(one.files, other.files, same);
}

Result<std::optional<SharedScan>> ShareScans(const std::vector<Plan>& scans) {
  std::vector<Bounds> bounds;
  for (const Plan& scan : scans) {
    GNOMON_ASSIGN_OR_RETURN(bounds.emplace_back(), BoundsOf(SpecOf(scan)));
  }
  const std::vector<std::string> common = CommonPredicates(scans);
  std::vector<std::string> predicates = common;
  std::ranges::copy(OuterBounds(bounds), std::back_inserter(predicates));
  GNOMON_ASSIGN_OR_RETURN(const Plan merged, WithAllColumns(scans, std::move(predicates)));
  if (merged == nullptr || !IsWorthIt(scans, bounds, *merged->schema()))
    return std::optional<SharedScan>();
  SharedScan shared{.scan = merged, .members = {}};
  for (const Plan& scan : scans) {
    GNOMON_ASSIGN_OR_RETURN(shared.members.emplace_back(),
                            RowsOfMember(scan, common, merged->schema()));
    if (!shared.members.back()->schema()->Equals(*scan->schema()))
      return std::optional<SharedScan>();
  }
  return shared;
}

Result<Plan> ReplaceInput(const Plan& plan, const std::string& name, const Plan& replacement) {
  const auto* input = std::get_if<InputSpec>(&plan->spec());
  if (input != nullptr) return input->name == name ? replacement : plan;
  std::vector<Plan> inputs;
  for (const Plan& each : plan->inputs()) {
    GNOMON_ASSIGN_OR_RETURN(inputs.emplace_back(), ReplaceInput(each, name, replacement));
  }
  if (inputs == plan->inputs()) return plan;
  return MakeNode(plan->spec(), std::move(inputs));
}

}  // namespace gnomon::dataset::internal
