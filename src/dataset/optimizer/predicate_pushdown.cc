#include <algorithm>
#include <map>
#include <set>

#include <arrow/type.h>

#include "base/text.h"
#include "dataset/optimizer/rule_internal.h"
#include "dataset/plan_internal.h"
#include "expr/expression.h"
#include "expr/predicate.h"

namespace gnomon::dataset::internal {

namespace {

using Predicates = std::vector<std::string>;

Result<std::vector<std::string>> ColumnsOf(const std::string& text) {
  GNOMON_ASSIGN_OR_RETURN(const auto expression, expr::Expression::Parse(text));
  return expression.columns();
}

/// May the predicate be asked about more rows than now? Not when it fails on some: also columns
/// that do not always fit the language's types count.
Result<bool> CanMove(const std::string& text, const arrow::Schema& schema) {
  GNOMON_ASSIGN_OR_RETURN(const auto expression, expr::Expression::Parse(text));
  if (!expr::NeverFails(expression)) return false;
  for (const std::string& name : expression.columns()) {
    const auto field = schema.GetFieldByName(name);
    if (field == nullptr || field->type()->id() == arrow::Type::UINT64 ||
        field->type()->Equals(*arrow::timestamp(arrow::TimeUnit::SECOND))) {
      return false;
    }
  }
  return true;
}

/// For the output columns that are input columns under the same or another name: output to input.
std::map<std::string, std::string> PassedColumns(const std::vector<NamedExpression>& expressions) {
  std::map<std::string, std::string> names;
  for (const NamedExpression& named : expressions) {
    const auto parsed = expr::Expression::Parse(named.expression);
    if (!parsed.ok() || named.type != nullptr) continue;
    const auto columns = parsed->columns();
    if (columns.size() == 1 && named.expression == ColumnExpression(columns[0]))
      names[named.name] = columns[0];
  }
  return names;
}

class Pusher {
 public:
  explicit Pusher(Notes* notes) : notes_(notes) {}

  /// The plan with only the rows for which all predicates are true. Each can be moved.
  Result<Plan> Push(const Plan& plan, Predicates predicates) {
    return std::visit([&](const auto& spec) { return PushInto(plan, spec, std::move(predicates)); },
                      plan->spec());
  }

 private:
  /// What cannot be moved further stands as a filter above the node.
  static Result<Plan> Above(Plan plan, const Predicates& predicates,
                            const std::shared_ptr<const expr::FunctionSet>& functions = nullptr) {
    if (predicates.empty()) return plan;
    std::string text = predicates[0];
    for (size_t i = 1; i < predicates.size(); ++i)
      text = Concat(i == 1 ? Concat("(", text, ")") : text, " and (", predicates[i], ")");
    return MakeNode(FilterSpec{std::move(text), functions}, {std::move(plan)});
  }

  Result<Plan> PushNothing(const Plan& plan) {
    std::vector<Plan> inputs;
    for (const Plan& input : plan->inputs()) {
      GNOMON_ASSIGN_OR_RETURN(auto pushed, Push(input, {}));
      inputs.push_back(std::move(pushed));
    }
    return WithInputs(plan, std::move(inputs));
  }

  template <typename Spec>
  Result<Plan> PushInto(const Plan& plan, const Spec& /*spec*/, Predicates predicates) {
    GNOMON_ASSIGN_OR_RETURN(auto same, PushNothing(plan));
    return Above(std::move(same), predicates);
  }

  Result<Plan> PushInto(const Plan& plan, const ScanSpec& spec, Predicates predicates) {
    if (predicates.empty()) return plan;
    if (spec.limit) return Above(plan, predicates);
    ScanSpec filtered = spec;
    for (const std::string& predicate : predicates) {
      notes_->push_back(Concat("predicate into the scan of ",
                               spec.files.empty() ? std::string("no files") : spec.files[0].path,
                               ": ", predicate));
      filtered.predicates.push_back(predicate);
    }
    return MakeNode(std::move(filtered));
  }

  Result<Plan> PushInto(const Plan& plan, const FilterSpec& spec, Predicates predicates) {
    const Plan& input = plan->inputs()[0];
    GNOMON_ASSIGN_OR_RETURN(const auto parsed, expr::Expression::Parse(spec.predicate));
    Predicates moved;
    Predicates kept;
    for (const expr::Expression& part : expr::Conjuncts(parsed)) {
      GNOMON_ASSIGN_OR_RETURN(const bool can_move, CanMove(part.text(), *input->schema()));
      (can_move ? moved : kept).push_back(part.text());
    }
    // The others come after this filter: they can move below it.
    moved.insert(moved.end(), predicates.begin(), predicates.end());
    GNOMON_ASSIGN_OR_RETURN(auto below, Push(input, std::move(moved)));
    return Above(std::move(below), kept, spec.functions);
  }

  Result<Plan> PushRenamed(const Plan& plan, const std::map<std::string, std::string>& names,
                           const std::set<std::string>& hidden, const Predicates& predicates) {
    Predicates below;
    Predicates above;
    for (const std::string& text : predicates) {
      GNOMON_ASSIGN_OR_RETURN(const auto expression, expr::Expression::Parse(text));
      const auto columns = expression.columns();
      const bool passes = std::ranges::none_of(
          columns, [&](const std::string& column) { return hidden.contains(column); });
      if (!passes) {
        above.push_back(text);
        continue;
      }
      GNOMON_ASSIGN_OR_RETURN(const auto renamed, expr::RenameColumns(expression, names));
      below.push_back(renamed.text());
    }
    GNOMON_ASSIGN_OR_RETURN(auto input, Push(plan->inputs()[0], std::move(below)));
    GNOMON_ASSIGN_OR_RETURN(auto node, WithInputs(plan, {std::move(input)}));
    return Above(std::move(node), above);
  }

  Result<Plan> PushInto(const Plan& plan, const ProjectSpec& spec, Predicates predicates) {
    const auto names = PassedColumns(spec.expressions);
    std::set<std::string> hidden;
    for (const auto& field : plan->schema()->fields()) {
      if (!names.contains(field->name())) hidden.insert(field->name());
    }
    return PushRenamed(plan, names, hidden, predicates);
  }

  Result<Plan> PushInto(const Plan& plan, const DeriveSpec& spec, Predicates predicates) {
    const auto names = PassedColumns(spec.expressions);
    std::set<std::string> hidden;
    for (const NamedExpression& named : spec.expressions) {
      if (!names.contains(named.name)) hidden.insert(named.name);
    }
    return PushRenamed(plan, names, hidden, predicates);
  }

  Result<Plan> PushInto(const Plan& plan, const TimeRangeSpec& spec, Predicates predicates) {
    return PushRenamed(plan, {}, {spec.name}, predicates);
  }

  Result<Plan> PushInto(const Plan& plan, const SortSpec& spec, Predicates predicates) {
    if (spec.limit) return PushWhole(plan, std::move(predicates), false);
    return PushWhole(plan, std::move(predicates), true);
  }

  Result<Plan> PushInto(const Plan& plan, const RepartitionSpec& spec, Predicates predicates) {
    // Round robin counts rows.
    return PushWhole(plan, std::move(predicates), !spec.keys.empty());
  }

  Result<Plan> PushWhole(const Plan& plan, Predicates predicates, bool passes) {
    Predicates below;
    if (passes) below.swap(predicates);
    GNOMON_ASSIGN_OR_RETURN(auto input, Push(plan->inputs()[0], std::move(below)));
    GNOMON_ASSIGN_OR_RETURN(auto node, WithInputs(plan, {std::move(input)}));
    return Above(std::move(node), predicates);
  }

  Result<Plan> PushInto(const Plan& plan, const UnionSpec& /*spec*/, Predicates predicates) {
    // A column of an input may be narrower, or unsigned, and then what could not fail might.
    Predicates above;
    for (const Plan& input : plan->inputs()) {
      std::erase_if(predicates, [&](const std::string& text) {
        const bool stays = !CanMove(text, *input->schema()).ValueOr(false);
        if (stays) above.push_back(text);
        return stays;
      });
    }
    std::vector<Plan> inputs;
    for (const Plan& input : plan->inputs()) {
      GNOMON_ASSIGN_OR_RETURN(auto pushed, Push(input, predicates));
      inputs.push_back(std::move(pushed));
    }
    GNOMON_ASSIGN_OR_RETURN(auto node, WithInputs(plan, std::move(inputs)));
    return Above(std::move(node), above);
  }

  Result<Plan> PushInto(const Plan& plan, const AggregateSpec& spec, Predicates predicates) {
    Predicates below;
    Predicates above;
    for (const std::string& text : predicates) {
      GNOMON_ASSIGN_OR_RETURN(const auto columns, ColumnsOf(text));
      const bool on_keys =
          !spec.keys.empty() && std::ranges::all_of(columns, [&](const auto& name) {
            return std::ranges::find(spec.keys, name) != spec.keys.end();
          });
      // Which of the equal values 0.0 and -0.0 a key shows is decided by its first row: a predicate
      // gives the same for both.
      (on_keys ? below : above).push_back(text);
    }
    GNOMON_ASSIGN_OR_RETURN(auto input, Push(plan->inputs()[0], std::move(below)));
    GNOMON_ASSIGN_OR_RETURN(auto node, WithInputs(plan, {std::move(input)}));
    return Above(std::move(node), above);
  }

  Result<Plan> PushInto(const Plan& plan, const JoinSpec& spec, Predicates predicates) {
    const auto side_of = SidesOf(*plan, spec);
    Predicates left;
    Predicates right;
    Predicates above;
    for (const std::string& text : predicates) {
      GNOMON_ASSIGN_OR_RETURN(const auto expression, expr::Expression::Parse(text));
      const auto columns = expression.columns();
      const auto all_from = [&](char side) {
        return !columns.empty() && std::ranges::all_of(columns, [&](const std::string& name) {
          return side_of.at(name).first == side;
        });
      };
      if (spec.type != JoinType::kFull && all_from('l')) {
        left.push_back(text);
      } else if (spec.type == JoinType::kInner && all_from('r')) {
        std::map<std::string, std::string> names;
        for (const std::string& name : columns) names[name] = side_of.at(name).second;
        GNOMON_ASSIGN_OR_RETURN(const auto renamed, expr::RenameColumns(expression, names));
        right.push_back(renamed.text());
      } else {
        above.push_back(text);
      }
    }
    GNOMON_ASSIGN_OR_RETURN(auto new_left, Push(plan->inputs()[0], std::move(left)));
    GNOMON_ASSIGN_OR_RETURN(auto new_right, Push(plan->inputs()[1], std::move(right)));
    GNOMON_ASSIGN_OR_RETURN(auto node,
                            WithInputs(plan, {std::move(new_left), std::move(new_right)}));
    return Above(std::move(node), above);
  }

  Result<Plan> PushInto(const Plan& plan, const AsOfJoinSpec& /*spec*/, Predicates predicates) {
    return PushLeft(plan, predicates);
  }

  Result<Plan> PushInto(const Plan& plan, const WindowAggregateSpec& /*spec*/,
                        Predicates predicates) {
    return PushLeft(plan, predicates);
  }

  /// To the labels, each of which gives one row with its own columns.
  Result<Plan> PushLeft(const Plan& plan, const Predicates& predicates) {
    const arrow::Schema& schema = *plan->inputs()[0]->schema();
    Predicates left;
    Predicates above;
    for (const std::string& text : predicates) {
      GNOMON_ASSIGN_OR_RETURN(const auto columns, ColumnsOf(text));
      const bool passes = std::ranges::all_of(
          columns, [&](const std::string& name) { return schema.GetFieldIndex(name) >= 0; });
      (passes ? left : above).push_back(text);
    }
    GNOMON_ASSIGN_OR_RETURN(auto labels, Push(plan->inputs()[0], std::move(left)));
    GNOMON_ASSIGN_OR_RETURN(auto events, Push(plan->inputs()[1], {}));
    GNOMON_ASSIGN_OR_RETURN(auto node, WithInputs(plan, {std::move(labels), std::move(events)}));
    return Above(std::move(node), above);
  }

  /// Output column to 'l' or 'r' and its name there.
  static std::map<std::string, std::pair<char, std::string>> SidesOf(const PlanNode& join,
                                                                     const JoinSpec& spec) {
    std::map<std::string, std::pair<char, std::string>> sides;
    const arrow::Schema& left = *join.inputs()[0]->schema();
    for (const auto& field : left.fields()) sides[field->name()] = {'l', field->name()};
    int column = left.num_fields();
    for (const auto& field : join.inputs()[1]->schema()->fields()) {
      if (column == join.schema()->num_fields()) break;
      if (std::ranges::find(spec.right_keys, field->name()) != spec.right_keys.end()) continue;
      sides[join.schema()->field(column++)->name()] = {'r', field->name()};
    }
    return sides;
  }

  Notes* const notes_;
};

}  // namespace

Result<Plan> PushDownPredicates(const Plan& plan, Notes* notes) {
  return Pusher(notes).Push(plan, {});
}

}  // namespace gnomon::dataset::internal
