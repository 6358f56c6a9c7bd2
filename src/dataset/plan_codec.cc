#include <algorithm>
#include <limits>
#include <unordered_map>

#include <arrow/table.h>
#include <arrow/type.h>

#include "base/text.h"
#include "base/version.h"
#include "dataset/plan_bytes_internal.h"
#include "dataset/plan_codec_internal.h"
#include "dataset/plan_internal.h"
#include "gnomon/plan.pb.h"

namespace gnomon::dataset {

namespace {

using internal::NoPlan;
using internal::Overloaded;
using internal::ParseSchema;
using internal::ParseTable;
using internal::SchemaBytes;
using internal::TableBytes;

constexpr uint32_t kFormatVersion = 1;

const char* FormatName(table::FileFormat format) {
  switch (format) {
    case table::FileFormat::kParquet:
      return "parquet";
    case table::FileFormat::kCsv:
      return "csv";
    case table::FileFormat::kJson:
      return "json";
    case table::FileFormat::kIpc:
      return "ipc";
  }
  return "";
}

template <typename Repeated>
std::vector<std::string> Texts(const Repeated& texts) {
  return {texts.begin(), texts.end()};
}

template <typename Repeated>
void SetTexts(const std::vector<std::string>& texts, Repeated* out) {
  for (const std::string& text : texts) *out->Add() = text;
}

Status Write(const ScanSpec& spec, proto::DatasetScan* out) {
  for (const ScanFile& file : spec.files) {
    auto* item = out->add_files();
    item->set_path(file.path);
    item->set_format(FormatName(file.format));
    item->set_size(file.size);
    item->set_modified_nanos(file.modified_nanos);
    item->set_part(file.part);
    item->set_num_parts(file.num_parts);
    for (const auto& value : file.partition_values) {
      auto* text = item->add_partition_values();
      if (value) text->set_text(*value);
    }
  }
  GNOMON_ASSIGN_OR_RETURN(*out->mutable_file_schema(), SchemaBytes(spec.file_schema));
  GNOMON_ASSIGN_OR_RETURN(*out->mutable_partition_schema(), SchemaBytes(spec.partition_schema));
  for (const auto& [source, name] : spec.field_mapping) {
    auto* item = out->add_field_mapping();
    item->set_source(source);
    item->set_name(name);
  }
  if (spec.columns) SetTexts(*spec.columns, out->mutable_columns()->mutable_values());
  SetTexts(spec.predicates, out->mutable_predicates());
  if (spec.limit) out->set_limit(*spec.limit);
  out->set_pruned(spec.pruned);
  out->set_declared(spec.declared);
  return Status::OK();
}

Result<NodeSpec> Read(const proto::DatasetScan& in) {
  ScanSpec spec;
  for (const auto& item : in.files()) {
    ScanFile file;
    file.path = item.path();
    GNOMON_ASSIGN_OR_RETURN(file.format, table::ParseFileFormat(item.format()));
    file.size = item.size();
    file.modified_nanos = item.modified_nanos();
    file.part = item.part();
    file.num_parts = std::max(1, item.num_parts());
    for (const auto& value : item.partition_values()) {
      file.partition_values.push_back(value.has_text() ? std::optional(value.text())
                                                       : std::nullopt);
    }
    spec.files.push_back(std::move(file));
  }
  GNOMON_ASSIGN_OR_RETURN(spec.file_schema, ParseSchema(in.file_schema()));
  GNOMON_ASSIGN_OR_RETURN(spec.partition_schema, ParseSchema(in.partition_schema()));
  for (const auto& item : in.field_mapping())
    spec.field_mapping.push_back({item.source(), item.name()});
  if (in.has_columns()) spec.columns = Texts(in.columns().values());
  spec.predicates = Texts(in.predicates());
  if (in.has_limit()) spec.limit = in.limit();
  spec.pruned = in.pruned();
  spec.declared = in.declared();
  return spec;
}

void Write(const JoinSpec& spec, proto::DatasetJoin* out) {
  out->set_type(NameOf(spec.type));
  SetTexts(spec.left_keys, out->mutable_left_keys());
  SetTexts(spec.right_keys, out->mutable_right_keys());
  out->set_right_suffix(spec.right_suffix);
}

Result<NodeSpec> Read(const proto::DatasetJoin& in) {
  GNOMON_ASSIGN_OR_RETURN(const JoinType type, ParseJoinType(in.type()));
  return JoinSpec{type, Texts(in.left_keys()), Texts(in.right_keys()), in.right_suffix()};
}

void Write(const SortSpec& spec, proto::DatasetSort* out) {
  for (const SortKey& key : spec.keys) {
    auto* written = out->add_keys();
    written->set_column(key.column);
    written->set_descending(key.descending);
    written->set_nulls_first(key.nulls_first);
  }
  if (spec.limit) out->set_limit(*spec.limit);
}

NodeSpec Read(const proto::DatasetSort& in) {
  SortSpec spec;
  for (const auto& key : in.keys())
    spec.keys.push_back({key.column(), key.descending(), key.nulls_first()});
  if (in.has_limit()) spec.limit = in.limit();
  return spec;
}

void Write(const WriteSpec& spec, proto::DatasetWrite* out) {
  out->set_path(spec.path);
  if (spec.format) out->set_format(FormatName(*spec.format));
  SetTexts(spec.partition_by, out->mutable_partition_by());
  out->set_compression(spec.compression);
  out->set_row_group_rows(spec.row_group_rows);
  out->set_rows_per_file(spec.rows_per_file);
  out->set_first_file(spec.first_file);
}

Result<NodeSpec> Read(const proto::DatasetWrite& in) {
  WriteSpec spec;
  spec.path = in.path();
  if (!in.format().empty()) {
    GNOMON_ASSIGN_OR_RETURN(spec.format, table::ParseFileFormat(in.format()));
  }
  spec.partition_by = Texts(in.partition_by());
  spec.compression = in.compression();
  spec.row_group_rows = in.row_group_rows();
  spec.rows_per_file = in.rows_per_file();
  spec.first_file = in.first_file();
  return spec;
}

Status WriteSpecOf(const NodeSpec& node, proto::DatasetNode* out) {
  const Overloaded write{
      [&](const ScanSpec& spec) { return Write(spec, out->mutable_scan()); },
      [&](const MapBatchesSpec& spec) {
        return internal::WriteMapBatches(spec, out->mutable_map_batches());
      },
      [&](const TableSpec& spec) -> Status {
        GNOMON_ASSIGN_OR_RETURN(*out->mutable_table()->mutable_stream(), TableBytes(*spec.table));
        return Status::OK();
      },
      [&](const AsOfJoinSpec& spec) {
        return internal::WriteAsOfJoin(spec, out->mutable_asof_join());
      },
      [&](const WindowAggregateSpec& spec) {
        return internal::WriteWindowAggregate(spec, out->mutable_window_aggregate());
      },
      [&](const InputSpec& spec) -> Status {
        out->mutable_input()->set_name(spec.name);
        GNOMON_ASSIGN_OR_RETURN(*out->mutable_input()->mutable_schema(), SchemaBytes(spec.schema));
        return Status::OK();
      },
      [&](const ExternalSpec& spec) {
        return internal::WriteExternal(spec, out->mutable_external());
      },
      [&](const LatestSpec& spec) -> Status {
        internal::WriteLatest(spec, out->mutable_latest());
        return Status::OK();
      },
      [&](const TimeRangeSpec& spec) -> Status {
        internal::WriteTimeRange(spec, out->mutable_time_range());
        return Status::OK();
      },
      [&](const ExternalWriteSpec& spec) -> Status {
        internal::WriteExternalWrite(spec, out->mutable_external_write());
        return Status::OK();
      },
      [&](const auto& spec) {
        using Spec = std::decay_t<decltype(spec)>;
        if constexpr (std::is_same_v<Spec, RangeSpec>) {
          out->mutable_range()->set_begin(spec.begin);
          out->mutable_range()->set_end(spec.end);
          out->mutable_range()->set_step(spec.step);
          out->mutable_range()->set_name(spec.name);
        } else if constexpr (std::is_same_v<Spec, ProjectSpec>) {
          return internal::WriteExpressions(spec.expressions, out->mutable_project());
        } else if constexpr (std::is_same_v<Spec, FilterSpec>) {
          out->mutable_filter()->set_predicate(spec.predicate);
          out->mutable_filter()->set_calls_extensions(spec.functions != nullptr);
        } else if constexpr (std::is_same_v<Spec, DeriveSpec>) {
          return internal::WriteExpressions(spec.expressions, out->mutable_derive());
        } else if constexpr (std::is_same_v<Spec, JoinSpec>) {
          Write(spec, out->mutable_join());
        } else if constexpr (std::is_same_v<Spec, AggregateSpec>) {
          internal::WriteAggregate(spec, out->mutable_aggregate());
        } else if constexpr (std::is_same_v<Spec, SortSpec>) {
          Write(spec, out->mutable_sort());
        } else if constexpr (std::is_same_v<Spec, RepartitionSpec>) {
          out->mutable_repartition()->set_num_partitions(spec.num_partitions);
          SetTexts(spec.keys, out->mutable_repartition()->mutable_keys());
        } else if constexpr (std::is_same_v<Spec, UnionSpec>) {
          out->mutable_union_();
        } else if constexpr (std::is_same_v<Spec, LimitSpec>) {
          out->mutable_limit()->set_limit(spec.limit);
          out->mutable_limit()->set_offset(spec.offset);
        } else if constexpr (std::is_same_v<Spec, SampleSpec>) {
          out->mutable_sample()->set_fraction(spec.fraction);
          out->mutable_sample()->set_seed(spec.seed);
          out->mutable_sample()->set_first_position(spec.first_position);
        } else {
          static_assert(std::is_same_v<Spec, WriteSpec>);
          Write(spec, out->mutable_write());
        }
        return Status::OK();
      }};
  return std::visit(write, node);
}

Result<NodeSpec> ReadSpecOf(const proto::DatasetNode& node, const PlanExtensions* extensions) {
  using Proto = proto::DatasetNode;
  switch (node.spec_case()) {
    case Proto::kScan:
      return Read(node.scan());
    case Proto::kRange:
      return RangeSpec{node.range().begin(), node.range().end(), node.range().step(),
                       node.range().name()};
    case Proto::kTable: {
      GNOMON_ASSIGN_OR_RETURN(auto table, ParseTable(node.table().stream()));
      return TableSpec{std::move(table)};
    }
    case Proto::kInput: {
      GNOMON_ASSIGN_OR_RETURN(auto schema, ParseSchema(node.input().schema()));
      return InputSpec{node.input().name(), std::move(schema)};
    }
    case Proto::kProject: {
      GNOMON_ASSIGN_OR_RETURN(auto read, internal::ReadExpressions(node.project(), extensions));
      return ProjectSpec{std::move(read)};
    }
    case Proto::kFilter:
      return internal::ReadFilter(node.filter(), extensions);
    case Proto::kDerive: {
      GNOMON_ASSIGN_OR_RETURN(auto read, internal::ReadExpressions(node.derive(), extensions));
      return DeriveSpec{std::move(read)};
    }
    case Proto::kMapBatches:
      return internal::ReadMapBatches(node.map_batches(), extensions);
    case Proto::kJoin:
      return Read(node.join());
    case Proto::kAggregate:
      return internal::ReadAggregate(node.aggregate(), extensions);
    case Proto::kSort:
      return Read(node.sort());
    case Proto::kRepartition:
      return RepartitionSpec{node.repartition().num_partitions(), Texts(node.repartition().keys())};
    case Proto::kUnion:
      return UnionSpec{};
    case Proto::kLimit:
      return LimitSpec{node.limit().limit(), node.limit().offset()};
    case Proto::kSample:
      return SampleSpec{node.sample().fraction(), node.sample().seed(),
                        node.sample().first_position()};
    case Proto::kWrite:
      return Read(node.write());
    case Proto::kAsofJoin:
      return internal::ReadAsOfJoin(node.asof_join());
    case Proto::kWindowAggregate:
      return internal::ReadWindowAggregate(node.window_aggregate(), extensions);
    case Proto::kExternal:
      return internal::ReadExternal(node.external(), extensions);
    case Proto::kLatest:
      return internal::ReadLatest(node.latest());
    case Proto::kTimeRange:
      return internal::ReadTimeRange(node.time_range());
    case Proto::kExternalWrite:
      return internal::ReadExternalWrite(node.external_write(), extensions);
    case Proto::SPEC_NOT_SET:
      break;
  }
  return NoPlan("a node without a spec");
}

/// Each node once, inputs first.
class PlanWriter {
 public:
  explicit PlanWriter(proto::DatasetPlan* out) : out_(out) {}

  Result<uint32_t> Add(const Plan& plan) {
    if (const auto known = places_.find(plan.get()); known != places_.end()) return known->second;
    std::vector<uint32_t> inputs;
    for (const Plan& input : plan->inputs()) {
      GNOMON_ASSIGN_OR_RETURN(const uint32_t place, Add(input));
      inputs.push_back(place);
    }
    proto::DatasetNode* node = out_->add_nodes();
    for (const uint32_t input : inputs) node->add_inputs(input);
    GNOMON_RETURN_NOT_OK(WriteSpecOf(plan->spec(), node));
    const auto place = static_cast<uint32_t>(out_->nodes_size() - 1);
    places_[plan.get()] = place;
    return place;
  }

 private:
  proto::DatasetPlan* out_;
  std::unordered_map<const PlanNode*, uint32_t> places_;
};

}  // namespace

Result<std::string> SerializePlan(const Plan& plan) {
  proto::DatasetPlan message;
  message.set_format_version(kFormatVersion);
  message.set_writer(Concat("gnomon ", kVersion));
  GNOMON_RETURN_NOT_OK(PlanWriter(&message).Add(plan).status());
  message.set_num_nodes(static_cast<uint32_t>(message.nodes_size()));
  if (message.ByteSizeLong() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    return MakeError(ErrorKind::kExhausted, "a plan above 2 GiB cannot be serialised", {},
                     "give large tables as files");
  }
  return message.SerializeAsString();
}

Result<Plan> ParsePlan(std::string_view bytes, const PlanExtensions* extensions) {
  proto::DatasetPlan message;
  if (bytes.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()) ||
      !message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return NoPlan("broken bytes");
  }
  if (message.format_version() > kFormatVersion) {
    return Error(ErrorKind::kUnsupported, "a plan of format ", message.format_version(),
                 ", written by ", message.writer(), ", is newer than this program, which knows ",
                 kFormatVersion);
  }
  if (message.format_version() == 0 || message.nodes_size() == 0 ||
      message.nodes_size() != static_cast<int64_t>(message.num_nodes())) {
    return NoPlan("nodes are missing");
  }
  std::vector<Plan> plans;
  for (const auto& node : message.nodes()) {
    std::vector<Plan> inputs;
    for (const uint32_t input : node.inputs()) {
      if (input >= plans.size()) return NoPlan("an input that does not stand before its node");
      inputs.push_back(plans[input]);
    }
    GNOMON_ASSIGN_OR_RETURN(auto spec, ReadSpecOf(node, extensions));
    GNOMON_ASSIGN_OR_RETURN(auto plan, MakeNode(std::move(spec), std::move(inputs)));
    plans.push_back(std::move(plan));
  }
  return plans.back();
}

}  // namespace gnomon::dataset
