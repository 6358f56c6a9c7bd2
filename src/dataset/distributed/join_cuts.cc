// Joins, and nodes that bring rows together in time.
#include <algorithm>
#include <array>
#include <utility>

#include <arrow/type.h>

#include "base/text.h"
#include "dataset/distributed/source_parts_internal.h"
#include "dataset/distributed/stage_cutter_class_internal.h"

namespace gnomon::dataset::internal {

namespace {

// Stands behind every position, and before every one.
constexpr const char* kLastPosition = "9223372036854775807";
constexpr const char* kFirstPosition = "-1";

}  // namespace

Result<Relation> StageCutter::CutJoin(const Plan& plan, const JoinSpec& spec) {
  const bool broadcast = spec.type != JoinType::kFull &&
                         SourceBytes(plan->inputs()[1]) <= builder_.options().broadcast_bytes;
  return broadcast ? CutBroadcastJoin(plan, spec) : CutShuffledJoin(plan, spec);
}

Result<Relation> StageCutter::CutBroadcastJoin(const Plan& plan, const JoinSpec& spec) {
  const Plan& right_input = plan->inputs()[1];
  GNOMON_ASSIGN_OR_RETURN(Relation left, Cut(plan->inputs()[0]));
  GNOMON_ASSIGN_OR_RETURN(Relation right, Cut(right_input));
  const bool keeps_order = !left.order.empty() && GivesPairs(spec.type);
  GNOMON_ASSIGN_OR_RETURN(
      const Arrived arrived,
      builder_.Exchange(std::move(right), right_input->schema(), {.keeps_order = keeps_order}));
  for (Fragment& fragment : left.fragments) {
    GNOMON_ASSIGN_OR_RETURN(fragment.plan, MakeNode(spec, {fragment.plan, arrived.plan}));
    fragment.inputs.push_back(arrived.input);
  }
  if (keeps_order) GNOMON_RETURN_NOT_OK(OrderPairs(spec.type, arrived.order, &left));
  return Shown(std::move(left), *plan);
}

Result<Relation> StageCutter::CutShuffledJoin(const Plan& plan, const JoinSpec& spec) {
  const int num_partitions =
      std::max(PartitionsOf(plan->inputs()[0]), PartitionsOf(plan->inputs()[1]));
  std::array<Arrived, 2> sides;
  for (const size_t side : {size_t{0}, size_t{1}}) {
    GNOMON_ASSIGN_OR_RETURN(Relation relation, Cut(plan->inputs()[side]));
    GNOMON_ASSIGN_OR_RETURN(
        sides[side],
        builder_.Exchange(std::move(relation), plan->inputs()[side]->schema(),
                          {.deal = {.kind = Deal::Kind::kHash,
                                    .keys = side == 0 ? spec.left_keys : spec.right_keys},
                           .num_partitions = num_partitions,
                           .keeps_order = side == 0 || GivesPairs(spec.type)}));
  }
  GNOMON_ASSIGN_OR_RETURN(Plan joined, MakeNode(spec, {sides[0].plan, sides[1].plan}));
  Relation relation{.fragments = {{.plan = std::move(joined),
                                   .inputs = {std::move(sides[0].input), std::move(sides[1].input)},
                                   .num_partitions = num_partitions}},
                    .order = std::move(sides[0].order),
                    .order_partitions = sides[0].order_partitions};
  GNOMON_RETURN_NOT_OK(OrderPairs(spec.type, sides[1].order, &relation));
  return Shown(std::move(relation), *plan);
}

Result<Relation> StageCutter::CutTimeMatch(const Plan& plan, const NodeSpec& spec,
                                           const TimeMatch& match) {
  const Plan& events = plan->inputs()[1];
  GNOMON_ASSIGN_OR_RETURN(Relation left, Cut(plan->inputs()[0]));
  GNOMON_ASSIGN_OR_RETURN(Relation right, Cut(events));
  const bool broadcast =
      match.left_keys.empty() || SourceBytes(events) <= builder_.options().broadcast_bytes;
  if (broadcast) {
    GNOMON_ASSIGN_OR_RETURN(const Arrived arrived,
                            builder_.Exchange(std::move(right), events->schema(), {}));
    for (Fragment& fragment : left.fragments) {
      GNOMON_ASSIGN_OR_RETURN(fragment.plan, MakeNode(spec, {fragment.plan, arrived.plan}));
      fragment.inputs.push_back(arrived.input);
    }
    return Shown(std::move(left), *plan);
  }
  const int num_partitions = std::max(PartitionsOf(plan->inputs()[0]), PartitionsOf(events));
  const auto shuffle = [&](Relation relation, size_t side) {
    return builder_.Exchange(std::move(relation), plan->inputs()[side]->schema(),
                             {.deal = {.kind = Deal::Kind::kHash,
                                       .keys = side == 0 ? match.left_keys : match.right_keys},
                              .num_partitions = num_partitions,
                              .keeps_order = side == 0});
  };
  GNOMON_ASSIGN_OR_RETURN(Arrived labels, shuffle(std::move(left), 0));
  GNOMON_ASSIGN_OR_RETURN(Arrived arrived, shuffle(std::move(right), 1));
  GNOMON_ASSIGN_OR_RETURN(Plan matched, MakeNode(spec, {labels.plan, arrived.plan}));
  return Shown(
      Relation{.fragments = {{.plan = std::move(matched),
                              .inputs = {std::move(labels.input), std::move(arrived.input)},
                              .num_partitions = num_partitions}},
               .order = std::move(labels.order),
               .order_partitions = labels.order_partitions},
      *plan);
}

bool StageCutter::GivesPairs(JoinType type) {
  return type != JoinType::kSemi && type != JoinType::kAnti;
}

Status StageCutter::OrderPairs(JoinType type, const std::vector<std::string>& right_order,
                               Relation* relation) {
  DeriveSpec positions;
  const auto replace_null = [&](const std::string& column, const char* position) {
    positions.expressions.push_back(
        {column, Concat("coalesce(", ColumnExpression(column), ", ", position, ")")});
  };
  if (type == JoinType::kFull) {
    for (const std::string& column : relation->order) replace_null(column, kLastPosition);
  }
  if (type == JoinType::kFull || type == JoinType::kLeft) {
    for (const std::string& column : right_order) replace_null(column, kFirstPosition);
  }
  relation->order.insert(relation->order.end(), right_order.begin(), right_order.end());
  return positions.expressions.empty() ? Status::OK() : PutOnTop(positions, relation);
}

}  // namespace gnomon::dataset::internal
