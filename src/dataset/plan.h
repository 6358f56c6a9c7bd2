#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "dataset/time_range.h"
#include "pit/window.h"
#include "table/file.h"

namespace gnomon::expr {
class FunctionSet;
}  // namespace gnomon::expr

namespace gnomon::runtime {
class Sink;
}  // namespace gnomon::runtime

/// Logical plans: immutable trees (shared parts make them DAGs) of nodes whose schemas are checked
/// when they are made. A plan says what the rows are and in which order; how they are computed is
/// decided by Optimize and the execution. The order of every node's rows is part of its meaning
/// (README.md), so that a result is the same bytes for any number of workers, memory limit and
/// batch size.
namespace gnomon::dataset {

class PlanNode;
struct BatchFunction;
class ExternalSource;
class ExternalSink;
using Plan = std::shared_ptr<const PlanNode>;

/// One file of a scan, as it was when the plan was made.
struct ScanFile {
  std::string path;
  table::FileFormat format = table::FileFormat::kParquet;
  /// Size and time of last change; -1: not known and not compared. A file that has changed when it
  /// is read is kConflict.
  int64_t size = -1;
  int64_t modified_nanos = -1;
  /// Text of each partition column, null for hive's default partition.
  std::vector<std::optional<std::string>> partition_values = {};
  /// Only part `part` of `num_parts` (table/file_part.h): whole row groups, in order.
  int32_t part = 0;
  int32_t num_parts = 1;
};

/// The file's column `source` is called `name` in the plan.
struct FieldMapping {
  std::string source;
  std::string name;
};

/// Files as one table. Order: files as listed, rows as in the file. Made by OpenScan.
struct ScanSpec {
  std::vector<ScanFile> files = {};
  /// Columns under their names in the files, with the types that all files are brought to. A
  /// nullable column that a file lacks is null there.
  std::shared_ptr<arrow::Schema> file_schema;
  /// The schema was given by the caller: other columns of the files are left out. Else they are
  /// kUser (text files, of which only the first was looked at when the plan was made).
  bool declared = false;
  std::vector<FieldMapping> field_mapping = {};
  /// Columns that come from folder names (`key=value`); they follow the columns of the files.
  std::shared_ptr<arrow::Schema> partition_schema = nullptr;

  // What the optimiser pushes down; all over the names of the plan.
  std::optional<std::vector<std::string>> columns = {};  ///< output, in this order; absent: all
  std::vector<std::string> predicates = {};  ///< only rows for which all are true, in this order
  std::optional<int64_t> limit = {};         ///< of the rows that pass the predicates
  bool pruned = false;  ///< files were left out by their partition values: `files` may be empty
};

/// int64 begin, begin + step, ... before end.
struct RangeSpec {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t step = 1;
  std::string name = "id";
};

struct TableSpec {
  std::shared_ptr<arrow::Table> table;
};

/// Batches that are handed over when the plan is executed (ExecutionOptions::inputs), so that a
/// part of a plan can be executed on its own. Order: as handed over.
struct InputSpec {
  std::string name;
  std::shared_ptr<arrow::Schema> schema;
};

/// Rows of another system, a database for example, which code reads that is found by its name where
/// the plan runs (external_source.h). Order: part after part, each as its source gives it.
struct ExternalSpec {
  std::string source;                   ///< a name of PlanExtensions::sources
  std::vector<std::string> parts = {};  ///< bytes that the source understands: no secrets
  std::shared_ptr<arrow::Schema> schema;
  int64_t bytes = -1;  ///< of all parts, about; -1: not known
  std::string description = {};
  std::shared_ptr<const ExternalSource> reader = nullptr;  ///< the source itself
  /// What the parts need as long as the plan is used, a database's snapshot for example. Stays with
  /// this plan: it is not among the plan's bytes.
  std::shared_ptr<const void> holds = nullptr;
};

/// An expression of expr/expression.h and the name of its column.
struct NamedExpression {
  std::string name;
  std::string expression;
  /// What the values are brought to without loss (kUser when one does not fit); null: the
  /// expression's type.
  std::shared_ptr<arrow::DataType> type = nullptr;
  /// Functions that it may call beside the language's own; a node keeps them only when it does.
  std::shared_ptr<const expr::FunctionSet> functions = nullptr;
};

/// Exactly these columns. Order: the input's.
struct ProjectSpec {
  std::vector<NamedExpression> expressions;
};

/// Rows for which the predicate is true (null counts as false). Order: the input's.
struct FilterSpec {
  std::string predicate;
  std::shared_ptr<const expr::FunctionSet> functions = nullptr;  ///< as in NamedExpression
};

/// The input's columns, replaced in place or followed by these; each sees only the input's columns.
struct DeriveSpec {
  std::vector<NamedExpression> expressions;
};

/// A registered function (function_registry.h) over batches, or one of a plug-in. Call k gets rows
/// [k * rows_per_call, (k + 1) * rows_per_call) of the input, whatever the batches of the execution
/// are; a row-wise function gets any. Order: input order of calls.
struct MapBatchesSpec {
  std::string function;
  std::string parameters = {};  ///< bytes, handed to the function as they are
  int64_t rows_per_call = int64_t{64} * 1024;
  bool row_wise = false;
  std::shared_ptr<arrow::Schema> output_schema = nullptr;
  /// The function itself, of a plug-in; null: the execution's registry has it.
  std::shared_ptr<const BatchFunction> extension = nullptr;
};

enum class JoinType { kInner, kLeft, kSemi, kAnti, kFull };
const char* NameOf(JoinType type);
Result<JoinType> ParseJoinType(std::string_view text);

/// Rows with equal keys. Keys compare by value: integers of any width and sign, times as instants,
/// strings and binaries, booleans; floating point is kUser. A null never matches. Columns: the
/// left's, then (not for semi and anti) the right's without its keys; a right name that the left
/// has too gets `right_suffix`. In a full join a key holds the right's value where the left has no
/// row, in a type that holds both. Order: by left row, then right row; the right's unmatched rows
/// of a full join follow in their order.
struct JoinSpec {
  JoinType type = JoinType::kInner;
  std::vector<std::string> left_keys = {};
  std::vector<std::string> right_keys = {};  ///< empty: as left_keys
  std::string right_suffix = {};
};

/// How left rows (labels) and right rows (events) meet in time: the point-in-time rules of
/// docs/design/point_in_time.md. Keys as in a join; without keys every event counts for every
/// label. A label with a null key or time meets nothing, nor does an event with one. Times are
/// timestamps and dates of any unit; the label's time is brought to the event's unit, never the
/// other way (or both to that of `created` when it is finer; kUser when an event's time does not
/// fit it). Ties in time are decided by `created` (nulls first), then by input position.
struct TimeMatch {
  std::vector<std::string> left_keys = {};
  std::vector<std::string> right_keys = {};  ///< empty: as left_keys
  std::string left_time = {};
  std::string right_time = {};  ///< empty: as left_time
  std::string created = {};     ///< a time column of the right; empty: none
  /// Events created after the label's time do not exist for it.
  bool filter_by_created = false;
  /// Events created after this instant (microseconds) do not exist at all.
  std::optional<int64_t> created_before = {};
};

/// A column of the right that an as-of join gives.
struct AsOfFeature {
  std::string column;
  std::string name = {};  ///< empty: as `column`
  /// What the winners' values are brought to without loss (kUser when one does not fit); null: the
  /// column's own type.
  std::shared_ptr<arrow::DataType> type = nullptr;
};

/// For each left row the newest right row at or before its time, not older than `tolerance`
/// microseconds (0: any age; both ends inclusive). Columns: the left's, then the features, null
/// without a match. Order: the left's, one row for each.
struct AsOfJoinSpec {
  TimeMatch match = {};
  int64_t tolerance = 0;
  std::vector<AsOfFeature> features = {};
};

/// An aggregate over a window of the right rows, with the meaning of pit/window.h.
struct WindowItem {
  pit::AggregateFunction function = pit::AggregateFunction::kCount;
  std::string column = {};
  std::string name = {};               ///< empty: "<column>_<function>"
  std::optional<int64_t> window = {};  ///< microseconds; absent: the whole past
  int64_t k = 1;
  double quantile = 0.5;
  int ddof = 1;
  /// What the column is brought to first, and the result at the end, without loss; null: as it is.
  std::shared_ptr<arrow::DataType> input_type = nullptr;
  std::shared_ptr<arrow::DataType> type = nullptr;
  std::shared_ptr<const pit::CustomAggregate> custom = nullptr;  ///< kCustom: which
};

/// For each left row at t the aggregates of the right rows with t - window < time <= t. Columns:
/// the left's, then the items. Order: the left's, one row for each.
struct WindowAggregateSpec {
  TimeMatch match = {};
  std::vector<WindowItem> items = {};
};

/// count sum mean min max std var count_distinct first last last_k median quantile most_frequent,
/// with the meaning of pit/window.h where the input position is the time: nulls are skipped, an
/// empty group gives null and counts give 0. A count without a column counts rows. A plug-in's
/// aggregate sees a group's values in input order in one state, never merged.
struct AggregateItem {
  pit::AggregateFunction function = pit::AggregateFunction::kCount;
  std::string column = {};
  std::string name = {};  ///< empty: "<column>_<function>", or "count"
  int ddof = 1;           ///< std and var
  int64_t k = 1;          ///< last_k
  double quantile = 0.5;  ///< quantile
  std::shared_ptr<const pit::CustomAggregate> custom = nullptr;  ///< kCustom: which
};

/// One row a group of equal keys: key columns, then items. Null is a key like others, all NaN are
/// one, -0.0 is 0.0; the key's value is that of the group's first row. Order: by first row of the
/// group. Without keys exactly one row.
struct AggregateSpec {
  std::vector<std::string> keys = {};
  std::vector<AggregateItem> items = {};
};

/// The newest row of every key: the greatest time, then the greatest `created`, then the last in
/// input order; nulls are the oldest. Null is a key like others, as in an aggregate. Columns: the
/// input's. Order: by the newest rows' input positions.
struct LatestSpec {
  std::vector<std::string> keys = {};  ///< empty: the newest row of all
  std::string time;
  std::string created = {};  ///< a time column; empty: none
  /// Rows of a time before or after these (microseconds, inclusive) do not exist.
  std::optional<int64_t> first = {};
  std::optional<int64_t> last = {};
  /// int64 columns that hold the sum over all rows of the key instead, nulls as 0: of a column of
  /// ones, for how many rows a row stands.
  std::vector<std::string> sums = {};
};

struct SortKey {
  std::string column;
  bool descending = false;
  bool nulls_first = false;
};

/// By the keys, then by input position: a total order. NaN is above every number (also descending:
/// first), nulls are last unless said otherwise, texts compare by bytes, lists element by element.
struct SortSpec {
  std::vector<SortKey> keys = {};
  std::optional<int64_t> limit = {};  ///< the first rows only
};

/// Cuts the input into partitions: by hash of the keys (equal keys, one partition), or row i into
/// partition i % num_partitions without keys. Order: by partition, then by input position.
struct RepartitionSpec {
  int num_partitions = 1;
  std::vector<std::string> keys = {};
};

/// The rows of all inputs, one input after the other. Columns have the same names in the same
/// order; integers are widened.
struct UnionSpec {};

/// Rows [offset, offset + limit).
struct LimitSpec {
  int64_t limit = 0;
  int64_t offset = 0;
};

/// Row i is kept when a hash of (seed, first_position + i) falls below `fraction`. Order: the
/// input's.
struct SampleSpec {
  double fraction = 1;
  uint64_t seed = 0;
  int64_t first_position = 0;  ///< of an input that is a part of another one
};

/// Writes the input to `path`: a file, or a folder of files, with partition_by of hive partitions.
/// All of it appears or nothing; what stood there before is replaced. Rows: one a file, with its
/// path and number of rows, by path.
struct WriteSpec {
  std::string path;
  std::optional<table::FileFormat> format = {};  ///< otherwise from the suffix; Parquet for folders
  std::vector<std::string> partition_by = {};
  std::string compression = "snappy";
  int64_t row_group_rows = 1 << 20;
  /// Above 0: a folder of files with so many rows each but the last, whose names sort in the order
  /// of the rows. With partition_by every partition is cut like that. 0: one file, one a partition.
  int64_t rows_per_file = 0;
  int64_t first_file = 0;  ///< number of the first one, of an input that is a part of another one
};

/// Hands the rows to another system, a database for example, by code that is found by its name
/// where the plan runs (external_sink.h). Rows are cut up by hash of the keys; a partition has
/// whole keys, its rows in input order. Rows: the token of each partition.
struct ExternalWriteSpec {
  std::string sink;                    ///< a name of PlanExtensions::sinks
  std::string parameters = {};         ///< bytes that the sink understands: no secrets
  std::vector<std::string> keys = {};  ///< empty: all rows in one partition
  /// 0: as many as the execution likes, which is one in one process. 1: one, wherever it runs.
  int num_partitions = 0;
  std::string description = {};
  std::shared_ptr<const ExternalSink> writer = nullptr;  ///< the sink itself
  /// The driver's end, which commits each partition's token once; null: writing is all. Stays with
  /// this plan: it is not among the plan's bytes.
  std::shared_ptr<runtime::Sink> commits = nullptr;
};

using NodeSpec =
    std::variant<ScanSpec, RangeSpec, TableSpec, InputSpec, ProjectSpec, FilterSpec, DeriveSpec,
                 MapBatchesSpec, JoinSpec, AggregateSpec, SortSpec, RepartitionSpec, UnionSpec,
                 LimitSpec, SampleSpec, WriteSpec, AsOfJoinSpec, WindowAggregateSpec, ExternalSpec,
                 LatestSpec, ExternalWriteSpec, TimeRangeSpec>;

/// A node of a plan. Immutable, thread-safe.
class PlanNode {
 public:
  /// Made by MakeNode only.
  PlanNode(NodeSpec spec, std::vector<Plan> inputs, std::shared_ptr<arrow::Schema> schema);

  const NodeSpec& spec() const { return spec_; }
  const std::vector<Plan>& inputs() const { return inputs_; }
  const std::shared_ptr<arrow::Schema>& schema() const { return schema_; }
  /// "scan", "range", ... "time_range".
  std::string_view name() const;
  /// One line: the name and what it does.
  std::string Describe() const;

 private:
  const NodeSpec spec_;
  const std::vector<Plan> inputs_;
  const std::shared_ptr<arrow::Schema> schema_;
};

/// Checks the spec against the inputs' schemas, completes what may be left out and gives the node.
/// kUser names the node and what is wrong, with the nearest name as the hint.
Result<Plan> MakeNode(NodeSpec spec, std::vector<Plan> inputs = {});

/// The name as an expression: "a" or "\"a b\"".
std::string ColumnExpression(std::string_view name);

/// The plan and its inputs, one node a line, inputs indented below.
std::string FormatPlan(const Plan& plan);

/// What a plan may name that is not built in: code of plug-in libraries and of higher modules,
/// found by its name where the plan is parsed.
struct PlanExtensions {
  /// Functions that expressions may call beside the language's own; may be null.
  std::shared_ptr<const expr::FunctionSet> functions = nullptr;
  std::map<std::string, std::shared_ptr<const pit::CustomAggregate>> aggregates = {};
  /// Functions of map_batches (extension_functions.h makes them of `functions`).
  std::map<std::string, std::shared_ptr<const BatchFunction>> batch_functions = {};
  /// Other systems, of external nodes.
  std::map<std::string, std::shared_ptr<const ExternalSource>> sources = {};
  /// Other systems, of external write nodes.
  std::map<std::string, std::shared_ptr<const ExternalSink>> sinks = {};
};

/// A plan as bytes (src/proto/gnomon/plan.proto) and back. Parsing checks every node again; bytes
/// that are no plan are kDataLoss, a newer format kUnsupported, what `extensions` (may be null)
/// lacks is kNotFound.
Result<std::string> SerializePlan(const Plan& plan);
Result<Plan> ParsePlan(std::string_view bytes, const PlanExtensions* extensions = nullptr);

}  // namespace gnomon::dataset
