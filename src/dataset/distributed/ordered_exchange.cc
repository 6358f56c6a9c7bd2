// Exchanges that keep the order of all rows: back to where they came from, counted, by ranges.
#include <algorithm>
#include <utility>

#include <arrow/type.h>

#include "dataset/distributed/relation_internal.h"
#include "dataset/distributed/write_task_internal.h"

namespace gnomon::dataset::internal {

namespace {

// Of each partition, for the boundaries of this many ranges.
int64_t SampleRows(int num_partitions) { return std::max<int64_t>(1024, 64 * num_partitions); }

std::vector<SortKey> WithOrder(std::vector<SortKey> keys, const std::vector<std::string>& order) {
  for (const std::string& column : order) keys.push_back({.column = column});
  return keys;
}

// The columns of the keys, each once.
ProjectSpec ColumnsOf(const std::vector<SortKey>& keys) {
  ProjectSpec project;
  for (const SortKey& key : keys) {
    if (std::ranges::find(project.expressions, key.column, &NamedExpression::name) ==
        project.expressions.end()) {
      project.expressions.push_back({key.column, ColumnExpression(key.column)});
    }
  }
  return project;
}

}  // namespace

Result<StageBuilder::Stored> StageBuilder::Store(Fragment fragment,
                                                 const std::shared_ptr<arrow::Schema>& schema,
                                                 const Output& output) {
  const int num_partitions = fragment.num_partitions;
  GNOMON_ASSIGN_OR_RETURN(const int stage, Close(fragment, output));
  const std::string input = NewInput();
  GNOMON_ASSIGN_OR_RETURN(Plan plan, MakeNode(InputSpec{.name = input, .schema = schema}));
  return Stored{.fragment = {.plan = std::move(plan),
                             .inputs = {{input, {{stage, runtime::Exchange::kOneToOne}}}},
                             .num_partitions = num_partitions},
                .stage = stage};
}

Result<Relation> StageBuilder::InOrder(Relation relation,
                                       const std::shared_ptr<arrow::Schema>& visible) {
  if (relation.order.empty()) return relation;
  const int num_partitions = relation.order_partitions;
  if (num_partitions == 1) return Gather(std::move(relation), visible);
  const Deal deal{.kind = Deal::Kind::kOrder, .keys = {relation.order[0]}};
  GNOMON_ASSIGN_OR_RETURN(
      Arrived arrived,
      Exchange(std::move(relation), visible, {.deal = deal, .num_partitions = num_partitions}));
  return Relation{.fragments = {{.plan = arrived.plan,
                                 .inputs = {std::move(arrived.input)},
                                 .num_partitions = num_partitions}}};
}

Result<Relation> StageBuilder::Counted(Relation relation,
                                       const std::shared_ptr<arrow::Schema>& visible) {
  Relation counted;
  std::vector<int> counts;
  int64_t first = 0;
  for (Fragment& fragment : relation.fragments) {
    GNOMON_ASSIGN_OR_RETURN(fragment.plan, Visible(fragment.plan, *visible, {}));
    GNOMON_ASSIGN_OR_RETURN(Stored stored, Store(std::move(fragment), visible, {}));
    Fragment count = stored.fragment;
    const AggregateSpec rows{
        .keys = {}, .items = {{.function = pit::AggregateFunction::kCount, .name = kCountColumn}}};
    GNOMON_ASSIGN_OR_RETURN(count.plan, MakeNode(rows, {count.plan}));
    GNOMON_ASSIGN_OR_RETURN(counts.emplace_back(), Close(count, {}));
    stored.fragment.first_counted = first;
    first += stored.fragment.num_partitions;
    counted.fragments.push_back(std::move(stored.fragment));
  }
  for (Fragment& fragment : counted.fragments) fragment.counts = counts;
  return counted;
}

Result<int> StageBuilder::ChooseBoundaries(const std::vector<Stored>& stored,
                                           const std::vector<SortKey>& keys, int num_partitions) {
  const std::string weight = NewColumn();
  FragmentInput samples{.name = NewInput(), .edges = {}};
  arrow::FieldVector fields;
  for (const Stored& each : stored) {
    Fragment sample = each.fragment;
    GNOMON_ASSIGN_OR_RETURN(sample.plan, MakeNode(ColumnsOf(keys), {sample.plan}));
    fields = sample.plan->schema()->fields();
    GNOMON_ASSIGN_OR_RETURN(
        const int stage,
        Close(sample, {.sample_rows = SampleRows(num_partitions), .weight_column = weight}));
    samples.edges.push_back({stage, runtime::Exchange::kBroadcast});
  }
  fields.push_back(arrow::field(weight, arrow::int64(), false));
  GNOMON_ASSIGN_OR_RETURN(
      Plan plan,
      MakeNode(InputSpec{.name = samples.name, .schema = arrow::schema(std::move(fields))}));
  GNOMON_ASSIGN_OR_RETURN(plan, MakeNode(SortSpec{.keys = keys, .limit = {}}, {plan}));
  return Close({.plan = std::move(plan), .inputs = {std::move(samples)}},
               {.boundary_shares = num_partitions, .weight_column = weight});
}

Result<Relation> StageBuilder::SortedByRanges(Relation relation,
                                              const std::shared_ptr<arrow::Schema>& visible,
                                              const std::vector<SortKey>& sort_keys,
                                              int num_partitions) {
  const bool adds_order = relation.order.empty();
  const std::vector<std::string> order =
      adds_order ? std::vector<std::string>{NewColumn()} : relation.order;
  const std::vector<SortKey> keys = WithOrder(sort_keys, order);
  arrow::FieldVector fields = visible->fields();
  for (const std::string& column : order) {
    fields.push_back(arrow::field(column, arrow::int64(), false));
  }
  const auto schema = arrow::schema(std::move(fields));
  std::vector<Stored> stored;
  int64_t first = 0;
  for (Fragment& fragment : relation.fragments) {
    GNOMON_ASSIGN_OR_RETURN(fragment.plan, Visible(fragment.plan, *visible, relation.order));
    Output output;
    if (adds_order) output.order_column = order[0];
    output.first_partition = first;
    first += fragment.num_partitions;
    GNOMON_ASSIGN_OR_RETURN(stored.emplace_back(), Store(std::move(fragment), schema, output));
  }
  GNOMON_ASSIGN_OR_RETURN(const int boundaries, ChooseBoundaries(stored, keys, num_partitions));
  FragmentInput ranges{.name = NewInput(), .edges = {}};
  for (const Stored& each : stored) {
    GNOMON_ASSIGN_OR_RETURN(
        const int stage,
        Close(
            each.fragment,
            {.num_partitions = num_partitions,
             .deal = {.kind = Deal::Kind::kRanges, .sort_keys = keys, .boundaries = boundaries}}));
    ranges.edges.push_back({stage, runtime::Exchange::kShuffle});
  }
  GNOMON_ASSIGN_OR_RETURN(Plan plan, MakeNode(InputSpec{.name = ranges.name, .schema = schema}));
  GNOMON_ASSIGN_OR_RETURN(plan, MakeNode(SortSpec{.keys = keys, .limit = {}}, {plan}));
  GNOMON_ASSIGN_OR_RETURN(plan, Visible(plan, *visible, {}));
  return Relation{.fragments = {{.plan = std::move(plan),
                                 .inputs = {std::move(ranges)},
                                 .num_partitions = num_partitions}}};
}

Result<Relation> StageBuilder::Assembled(Relation written, const std::string& path) {
  FragmentInput files{.name = NewInput(), .edges = {}};
  for (const Fragment& fragment : written.fragments) {
    GNOMON_ASSIGN_OR_RETURN(const int stage, Close(fragment, {}));
    files.edges.push_back({stage, runtime::Exchange::kBroadcast});
  }
  GNOMON_ASSIGN_OR_RETURN(Plan plan,
                          MakeNode(InputSpec{.name = files.name, .schema = WrittenFilesSchema()}));
  return Relation{
      .fragments = {{.plan = std::move(plan), .inputs = {std::move(files)}, .assembles = path}}};
}

}  // namespace gnomon::dataset::internal
