#include <arrow/type.h>

#include "base/text.h"
#include "dataset/plan_bytes_internal.h"
#include "dataset/plan_codec_internal.h"

namespace gnomon::dataset::internal {

namespace {

using DataTypePtr = std::shared_ptr<arrow::DataType>;

Result<std::string> TypeBytes(const DataTypePtr& type) {
  return SchemaBytes(type == nullptr ? nullptr : arrow::schema({arrow::field("type", type)}));
}

Result<DataTypePtr> ParseType(const std::string& bytes) {
  GNOMON_ASSIGN_OR_RETURN(const auto schema, ParseSchema(bytes));
  if (schema == nullptr) return nullptr;
  if (schema->num_fields() != 1) return NoPlan("a type of several fields");
  return schema->field(0)->type();
}

void WriteMatch(const TimeMatch& match, proto::DatasetTimeMatch* out) {
  for (const std::string& key : match.left_keys) out->add_left_keys(key);
  for (const std::string& key : match.right_keys) out->add_right_keys(key);
  out->set_left_time(match.left_time);
  out->set_right_time(match.right_time);
  out->set_created(match.created);
  out->set_filter_by_created(match.filter_by_created);
  if (match.created_before) out->set_created_before(*match.created_before);
}

TimeMatch ReadMatch(const proto::DatasetTimeMatch& in) {
  TimeMatch match{.left_keys = {in.left_keys().begin(), in.left_keys().end()},
                  .right_keys = {in.right_keys().begin(), in.right_keys().end()},
                  .left_time = in.left_time(),
                  .right_time = in.right_time(),
                  .created = in.created(),
                  .filter_by_created = in.filter_by_created(),
                  .created_before = {}};
  if (in.has_created_before()) match.created_before = in.created_before();
  return match;
}

/// The function of an item, built in or a plug-in's.
template <typename Message, typename Item>
void WriteFunction(const Item& item, Message* out) {
  if (item.custom == nullptr) {
    out->set_function(pit::NameOf(item.function));
  } else {
    out->set_custom(item.custom->name());
  }
}

template <typename Message, typename Item>
Status ReadFunction(const Message& in, const PlanExtensions* extensions, Item* item) {
  if (in.custom().empty()) {
    GNOMON_ASSIGN_OR_RETURN(item->function, pit::ParseAggregateFunction(in.function()));
    return Status::OK();
  }
  item->function = pit::AggregateFunction::kCustom;
  if (extensions != nullptr) {
    const auto known = extensions->aggregates.find(in.custom());
    if (known != extensions->aggregates.end()) item->custom = known->second;
  }
  if (item->custom != nullptr) return Status::OK();
  return Error(ErrorKind::kNotFound, "no such aggregate of a plug-in: ", Quoted(in.custom()));
}

Result<WindowItem> ReadItem(const proto::DatasetWindowItem& in, const PlanExtensions* extensions) {
  WindowItem item;
  GNOMON_RETURN_NOT_OK(ReadFunction(in, extensions, &item));
  item.column = in.column();
  item.name = in.name();
  if (in.has_window()) item.window = in.window();
  item.k = in.k();
  item.quantile = in.quantile();
  item.ddof = in.ddof();
  GNOMON_ASSIGN_OR_RETURN(item.input_type, ParseType(in.input_type()));
  GNOMON_ASSIGN_OR_RETURN(item.type, ParseType(in.type()));
  return item;
}

/// Null when none are called.
Result<std::shared_ptr<const expr::FunctionSet>> FunctionsFor(bool are_called,
                                                              const std::string& expression,
                                                              const PlanExtensions* extensions) {
  if (!are_called) return nullptr;
  if (extensions != nullptr && extensions->functions != nullptr) return extensions->functions;
  return Error(ErrorKind::kNotFound, "no plug-in is loaded for the functions of ",
               Quoted(expression));
}

}  // namespace

Status WriteExpressions(const std::vector<NamedExpression>& expressions,
                        proto::DatasetExpressions* out) {
  for (const NamedExpression& named : expressions) {
    auto* item = out->add_expressions();
    item->set_name(named.name);
    item->set_expression(named.expression);
    item->set_calls_extensions(named.functions != nullptr);
    GNOMON_ASSIGN_OR_RETURN(*item->mutable_type(), TypeBytes(named.type));
  }
  return Status::OK();
}

Result<std::vector<NamedExpression>> ReadExpressions(const proto::DatasetExpressions& in,
                                                     const PlanExtensions* extensions) {
  std::vector<NamedExpression> expressions;
  for (const auto& item : in.expressions()) {
    NamedExpression named{.name = item.name(), .expression = item.expression()};
    GNOMON_ASSIGN_OR_RETURN(named.type, ParseType(item.type()));
    GNOMON_ASSIGN_OR_RETURN(named.functions,
                            FunctionsFor(item.calls_extensions(), item.expression(), extensions));
    expressions.push_back(std::move(named));
  }
  return expressions;
}

Result<NodeSpec> ReadFilter(const proto::DatasetFilter& in, const PlanExtensions* extensions) {
  GNOMON_ASSIGN_OR_RETURN(auto functions,
                          FunctionsFor(in.calls_extensions(), in.predicate(), extensions));
  return FilterSpec{in.predicate(), std::move(functions)};
}

Status WriteMapBatches(const MapBatchesSpec& spec, proto::DatasetMapBatches* out) {
  out->set_function(spec.function);
  out->set_parameters(spec.parameters);
  out->set_rows_per_call(spec.rows_per_call);
  out->set_row_wise(spec.row_wise);
  out->set_calls_extension(spec.extension != nullptr);
  GNOMON_ASSIGN_OR_RETURN(*out->mutable_output_schema(), SchemaBytes(spec.output_schema));
  return Status::OK();
}

Result<NodeSpec> ReadMapBatches(const proto::DatasetMapBatches& in,
                                const PlanExtensions* extensions) {
  GNOMON_ASSIGN_OR_RETURN(auto schema, ParseSchema(in.output_schema()));
  MapBatchesSpec spec{in.function(), in.parameters(), in.rows_per_call(), in.row_wise(),
                      std::move(schema)};
  if (!in.calls_extension()) return spec;
  if (extensions != nullptr) {
    const auto known = extensions->batch_functions.find(spec.function);
    if (known != extensions->batch_functions.end()) spec.extension = known->second;
  }
  if (spec.extension != nullptr) return spec;
  return Error(ErrorKind::kNotFound,
               "no such batch function of a plug-in: ", Quoted(spec.function));
}

void WriteAggregate(const AggregateSpec& spec, proto::DatasetAggregate* out) {
  for (const std::string& key : spec.keys) out->add_keys(key);
  for (const AggregateItem& item : spec.items) {
    auto* written = out->add_items();
    WriteFunction(item, written);
    written->set_column(item.column);
    written->set_name(item.name);
    written->set_ddof(item.ddof);
    written->set_k(item.k);
    written->set_quantile(item.quantile);
  }
}

Result<NodeSpec> ReadAggregate(const proto::DatasetAggregate& in,
                               const PlanExtensions* extensions) {
  AggregateSpec spec{.keys = {in.keys().begin(), in.keys().end()}, .items = {}};
  for (const auto& message : in.items()) {
    AggregateItem item{.column = message.column(),
                       .name = message.name(),
                       .ddof = message.ddof(),
                       .k = message.k(),
                       .quantile = message.quantile()};
    GNOMON_RETURN_NOT_OK(ReadFunction(message, extensions, &item));
    spec.items.push_back(std::move(item));
  }
  return spec;
}

Status WriteAsOfJoin(const AsOfJoinSpec& spec, proto::DatasetAsOfJoin* out) {
  WriteMatch(spec.match, out->mutable_match());
  out->set_tolerance(spec.tolerance);
  for (const AsOfFeature& feature : spec.features) {
    auto* item = out->add_features();
    item->set_column(feature.column);
    item->set_name(feature.name);
    GNOMON_ASSIGN_OR_RETURN(*item->mutable_type(), TypeBytes(feature.type));
  }
  return Status::OK();
}

Result<NodeSpec> ReadAsOfJoin(const proto::DatasetAsOfJoin& in) {
  AsOfJoinSpec spec{.match = ReadMatch(in.match()), .tolerance = in.tolerance(), .features = {}};
  for (const auto& item : in.features()) {
    GNOMON_ASSIGN_OR_RETURN(auto type, ParseType(item.type()));
    spec.features.push_back({item.column(), item.name(), std::move(type)});
  }
  return spec;
}

Status WriteWindowAggregate(const WindowAggregateSpec& spec, proto::DatasetWindowAggregate* out) {
  WriteMatch(spec.match, out->mutable_match());
  for (const WindowItem& item : spec.items) {
    auto* written = out->add_items();
    WriteFunction(item, written);
    written->set_column(item.column);
    written->set_name(item.name);
    if (item.window) written->set_window(*item.window);
    written->set_k(item.k);
    written->set_quantile(item.quantile);
    written->set_ddof(item.ddof);
    GNOMON_ASSIGN_OR_RETURN(*written->mutable_input_type(), TypeBytes(item.input_type));
    GNOMON_ASSIGN_OR_RETURN(*written->mutable_type(), TypeBytes(item.type));
  }
  return Status::OK();
}

Result<NodeSpec> ReadWindowAggregate(const proto::DatasetWindowAggregate& in,
                                     const PlanExtensions* extensions) {
  WindowAggregateSpec spec{.match = ReadMatch(in.match()), .items = {}};
  for (const auto& item : in.items()) {
    GNOMON_ASSIGN_OR_RETURN(spec.items.emplace_back(), ReadItem(item, extensions));
  }
  return spec;
}

Status WriteExternal(const ExternalSpec& spec, proto::DatasetExternal* out) {
  out->set_source(spec.source);
  for (const std::string& part : spec.parts) out->add_parts(part);
  GNOMON_ASSIGN_OR_RETURN(*out->mutable_schema(), SchemaBytes(spec.schema));
  out->set_bytes(spec.bytes);
  out->set_description(spec.description);
  return Status::OK();
}

Result<NodeSpec> ReadExternal(const proto::DatasetExternal& in, const PlanExtensions* extensions) {
  ExternalSpec spec{.source = in.source(),
                    .parts = {in.parts().begin(), in.parts().end()},
                    .schema = nullptr,
                    .bytes = in.bytes(),
                    .description = in.description()};
  GNOMON_ASSIGN_OR_RETURN(spec.schema, ParseSchema(in.schema()));
  if (extensions != nullptr) {
    const auto known = extensions->sources.find(spec.source);
    if (known != extensions->sources.end()) spec.reader = known->second;
  }
  if (spec.reader != nullptr) return spec;
  return Error(ErrorKind::kNotFound,
               "this process does not read the source of a plan: ", Quoted(spec.source));
}

void WriteLatest(const LatestSpec& spec, proto::DatasetLatest* out) {
  for (const std::string& key : spec.keys) out->add_keys(key);
  out->set_time(spec.time);
  out->set_created(spec.created);
  if (spec.first) out->set_first(*spec.first);
  if (spec.last) out->set_last(*spec.last);
  for (const std::string& sum : spec.sums) out->add_sums(sum);
}

NodeSpec ReadLatest(const proto::DatasetLatest& in) {
  LatestSpec spec{.keys = {in.keys().begin(), in.keys().end()},
                  .time = in.time(),
                  .created = in.created(),
                  .sums = {in.sums().begin(), in.sums().end()}};
  if (in.has_first()) spec.first = in.first();
  if (in.has_last()) spec.last = in.last();
  return spec;
}

void WriteTimeRange(const TimeRangeSpec& spec, proto::DatasetTimeRange* out) {
  out->set_time(spec.time);
  if (spec.first) out->set_first(*spec.first);
  if (spec.last) out->set_last(*spec.last);
  out->set_created(spec.created);
  if (spec.created_before) out->set_created_before(*spec.created_before);
  out->set_name(spec.name);
  out->set_unit(static_cast<int32_t>(spec.unit));
}

Result<NodeSpec> ReadTimeRange(const proto::DatasetTimeRange& in) {
  TimeRangeSpec spec{.time = in.time(), .created = in.created(), .name = in.name()};
  if (in.has_first()) spec.first = in.first();
  if (in.has_last()) spec.last = in.last();
  if (in.has_created_before()) spec.created_before = in.created_before();
  if (in.unit() < arrow::TimeUnit::SECOND || in.unit() > arrow::TimeUnit::NANO)
    return Error(ErrorKind::kDataLoss, "not a plan: no unit of time: ", in.unit());
  spec.unit = static_cast<arrow::TimeUnit::type>(in.unit());
  return spec;
}

void WriteExternalWrite(const ExternalWriteSpec& spec, proto::DatasetExternalWrite* out) {
  out->set_sink(spec.sink);
  out->set_parameters(spec.parameters);
  for (const std::string& key : spec.keys) out->add_keys(key);
  out->set_num_partitions(spec.num_partitions);
  out->set_description(spec.description);
}

Result<NodeSpec> ReadExternalWrite(const proto::DatasetExternalWrite& in,
                                   const PlanExtensions* extensions) {
  ExternalWriteSpec spec{.sink = in.sink(),
                         .parameters = in.parameters(),
                         .keys = {in.keys().begin(), in.keys().end()},
                         .num_partitions = in.num_partitions(),
                         .description = in.description()};
  if (extensions != nullptr) {
    const auto known = extensions->sinks.find(spec.sink);
    if (known != extensions->sinks.end()) spec.writer = known->second;
  }
  if (spec.writer != nullptr) return spec;
  return Error(ErrorKind::kNotFound,
               "this process does not write to the sink of a plan: ", Quoted(spec.sink));
}

}  // namespace gnomon::dataset::internal
