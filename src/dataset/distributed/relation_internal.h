#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "dataset/distributed/distributed.h"
#include "dataset/distributed/operator_marks_internal.h"
#include "dataset/distributed/shared_scan_internal.h"
#include "dataset/distributed/stage_cutter_internal.h"
#include "dataset/plan.h"
#include "runtime/job.h"

namespace gnomon::proto {
class StageFragment;
}  // namespace gnomon::proto

namespace gnomon::dataset::internal {

/// An input node of a fragment and the edges that feed it.
struct FragmentInput {
  std::string name;
  std::vector<runtime::StageEdge> edges;
};

/// A part of the plan that runs in one stage, which is not closed yet: more nodes may be put on
/// top.
struct Fragment {
  Plan plan;
  std::vector<FragmentInput> inputs = {};
  std::vector<std::string> arguments = {};  ///< empty, or the source of each partition
  int num_partitions = 1;
  /// Stages with the number of rows of each partition of the relation, and the fragment's first
  /// one: so that a task knows where its rows stand.
  std::vector<int> counts = {};
  int64_t first_counted = 0;
  std::string assembles = {};  ///< its rows name written files, to be put together at this path
  /// The scan that the input node kSourceInput stands for, when others read the same files.
  Plan scan = nullptr;
};

/// See CutIntoStages.
struct Relation {
  std::vector<Fragment> fragments;
  std::vector<std::string> order = {};  ///< columns; empty: one partition after the other
  int order_partitions = 1;             ///< that the positions of order[0] count

  bool is_one_partition() const {
    return order.empty() && fragments.size() == 1 && fragments[0].num_partitions == 1;
  }
};

/// Which partition of the next stage a row goes to (proto::StageDeal).
struct Deal {
  enum class Kind { kToAll, kHash, kOrder, kRow, kRanges };
  Kind kind = Kind::kToAll;
  std::vector<std::string> keys = {};   ///< kHash; kOrder: the column
  int64_t run_rows = 0;                 ///< kRow; 0: round robin
  std::vector<SortKey> sort_keys = {};  ///< kRanges
  int boundaries = -1;                  ///< kRanges: the stage that gives them
};

/// How a relation leaves its stages.
struct Exchanged {
  Deal deal = {};
  int num_partitions = 1;    ///< that rows are dealt to
  bool keeps_order = false;  ///< rows shall have order columns
  bool sorts = true;         ///< by the order columns that there are
};

/// A relation at the other end of an exchange, in the right order inside each partition.
struct Arrived {
  Plan plan;
  FragmentInput input;
  std::vector<std::string> order;  ///< the columns, which are in the plan when they were asked for
  int order_partitions = 1;
};

/// Closes fragments into stages of a job.
class StageBuilder {
 public:
  /// Hidden columns get names that no node of `plan` has. REQUIRES: no node stands twice in it.
  StageBuilder(const Plan& plan, const DistributionOptions& options);

  const DistributionOptions& options() const { return options_; }
  OperatorMarks& marks() { return marks_; }

  /// Does another scan of the plan read the same files?
  bool HasTwin(const Plan& source) const;

  /// Exactly these columns of the relation, then its order columns.
  Result<Plan> Visible(const Plan& plan, const arrow::Schema& visible,
                       const std::vector<std::string>& order) const;

  /// Sends a relation with the columns of `visible` through an exchange.
  Result<Arrived> Exchange(Relation relation, const std::shared_ptr<arrow::Schema>& visible,
                           const Exchanged& how);

  /// All rows in one partition, in order; with `limit` the first of them.
  Result<Relation> Gather(Relation relation, const std::shared_ptr<arrow::Schema>& visible,
                          std::optional<int64_t> limit = {});

  /// The same rows in as many partitions as they were in before they were dealt out, one after the
  /// other; a relation without order columns as it is.
  Result<Relation> InOrder(Relation relation, const std::shared_ptr<arrow::Schema>& visible);

  /// A relation without order columns whose tasks know where their rows stand among all.
  Result<Relation> Counted(Relation relation, const std::shared_ptr<arrow::Schema>& visible);

  /// All rows by the keys, ties as they were, one partition after the other.
  Result<Relation> SortedByRanges(Relation relation, const std::shared_ptr<arrow::Schema>& visible,
                                  const std::vector<SortKey>& keys, int num_partitions);

  /// Files that the tasks of a relation of write nodes wrote (WrittenFilesSchema), to be put
  /// together at `path`.
  Result<Relation> Assembled(Relation written, const std::string& path);

  /// Closes the relation of the root.
  Status Finish(Relation relation, const Plan& root);

  Result<StagePlan> Take();

  std::string NewColumn() { return prefix_ + std::to_string(++num_columns_); }
  std::string NewInput() { return "input" + std::to_string(++num_inputs_); }

 private:
  struct Output {
    int num_partitions = 1;
    Deal deal = {};
    std::string order_column = {};
    int64_t first_partition = 0;
    int64_t sample_rows = 0;         ///< above 0: the output is a sample
    int boundary_shares = 0;         ///< above 0: the output is boundaries
    std::string weight_column = {};  ///< of samples
  };
  /// A stage whose rows are read again, partition by partition.
  struct Stored {
    Fragment fragment;  ///< reads it
    int stage = 0;
  };
  /// A fragment that is a branch of a stage: of several branches together they are one stage.
  struct Branch {
    Fragment fragment;
    Output output;
    StageMarks marks;
  };
  /// One stage for branches over scans of the same files, which are read once.
  struct SharedStage {
    int place = 0;
    std::vector<Branch> branches;
    SharedScan scans;
  };

  /// What Explain has of a stage beside what it reads.
  struct StageText {
    std::string head;
    std::vector<std::string> lines;
  };

  Result<int> Close(const Fragment& fragment, const Output& output);
  /// The stage of that place. `marks` are those of the fragment's nodes.
  Status Fill(int place, const Fragment& fragment, const Output& output, StageMarks marks);
  int NewPlace();
  static Status WriteFragment(const Plan& plan, const Output& output, const StageMarks& marks,
                              proto::StageFragment* message);
  static std::string DescribeOutput(const Output& output);

  // shared_stages.cc
  /// Closes a fragment whose blocks are read by one consumer. One over a scan of files that others
  /// read too becomes a branch of a stage, which is filled in when all are known.
  Result<runtime::StageEdge> CloseForExchange(const Fragment& fragment, const Output& output);
  Result<runtime::StageEdge> AddBranch(const Fragment& fragment, const Output& output);
  Status FillShared(const SharedStage& shared);
  /// The branches' fragments; the marks of the source's node, which are still to be given, and of
  /// theirs.
  static Result<StageMarks> WriteBranches(const SharedStage& shared, SharedRead* read,
                                          proto::StageFragment* message);
  Status ExplainShared(const SharedStage& shared);

  Result<Stored> Store(Fragment fragment, const std::shared_ptr<arrow::Schema>& schema,
                       const Output& output);
  Result<int> ChooseBoundaries(const std::vector<Stored>& stored, const std::vector<SortKey>& keys,
                               int num_partitions);
  void Explain(int place, const Fragment& fragment, const Output& output);

  const DistributionOptions options_;
  std::string prefix_;
  int num_columns_ = 0;
  int num_inputs_ = 0;
  OperatorMarks marks_;
  std::vector<Plan> scans_;  ///< of the plan
  std::vector<SharedStage> shared_;
  std::vector<StageText> explain_;  ///< by stage
  StagePlan result_;
};

}  // namespace gnomon::dataset::internal
