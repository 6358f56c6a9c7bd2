#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "dataset/distributed/distributed.h"
#include "dataset/distributed/stage_cutter_internal.h"
#include "dataset/plan.h"
#include "runtime/job.h"

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
};

/// See CutIntoStages.
struct Relation {
  std::vector<Fragment> fragments;
  std::vector<std::string> order = {};  ///< columns; empty: one partition after the other

  bool is_one_partition() const {
    return order.empty() && fragments.size() == 1 && fragments[0].num_partitions == 1;
  }
};

/// How a relation leaves its stages.
struct Exchanged {
  runtime::Exchange exchange = runtime::Exchange::kBroadcast;
  int num_partitions = 1;              ///< of a shuffle
  std::vector<std::string> keys = {};  ///< of a shuffle
  bool keeps_order = false;            ///< rows shall have order columns
  bool sorts = true;                   ///< by the order columns that there are
};

/// A relation at the other end of an exchange, in the right order inside each partition.
struct Arrived {
  Plan plan;
  FragmentInput input;
  std::vector<std::string> order;  ///< the columns, which are in the plan when they were asked for
};

/// Closes fragments into stages of a job.
class StageBuilder {
 public:
  /// Hidden columns get names that no node of `plan` has.
  StageBuilder(const Plan& plan, const DistributionOptions& options);

  const DistributionOptions& options() const { return options_; }

  /// Exactly these columns of the relation, then its order columns.
  Result<Plan> Visible(const Plan& plan, const arrow::Schema& visible,
                       const std::vector<std::string>& order) const;

  /// Sends a relation with the columns of `visible` through an exchange.
  Result<Arrived> Exchange(Relation relation, const std::shared_ptr<arrow::Schema>& visible,
                           const Exchanged& how);

  /// All rows in one partition, in order; with `limit` the first of them.
  Result<Relation> Gather(Relation relation, const std::shared_ptr<arrow::Schema>& visible,
                          std::optional<int64_t> limit = {});

  /// Closes the relation of the root.
  Status Finish(Relation relation, const Plan& root);

  StagePlan Take() { return std::move(result_); }

  std::string NewColumn() { return prefix_ + std::to_string(++num_columns_); }

 private:
  struct Output {
    int num_partitions = 1;
    std::vector<std::string> keys = {};
    std::string order_column = {};
    int64_t first_partition = 0;
  };
  Result<int> Close(const Fragment& fragment, const Output& output);
  void Explain(const runtime::StageSpec& stage, const Fragment& fragment, const Output& output);

  const DistributionOptions options_;
  std::string prefix_;
  int num_columns_ = 0;
  int num_inputs_ = 0;
  StagePlan result_;
};

}  // namespace gnomon::dataset::internal
