#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/ids.h"
#include "dataset/key_encoding_internal.h"
#include "dataset/operators/factories_internal.h"
#include "dataset/operators/spill_internal.h"
#include "dataset/partition_hash.h"
#include "dataset/plan_internal.h"

namespace gnomon::dataset {

Result<std::vector<int32_t>> PartitionOfRows(const arrow::RecordBatch& batch,
                                             const RepartitionSpec& spec, int64_t first_position) {
  std::vector<int32_t> partitions(static_cast<size_t>(batch.num_rows()));
  const auto count = static_cast<uint64_t>(spec.num_partitions);
  if (spec.keys.empty()) {
    for (size_t row = 0; row < partitions.size(); ++row) {
      partitions[row] = static_cast<int32_t>((static_cast<uint64_t>(first_position) + row) % count);
    }
    return partitions;
  }
  GNOMON_ASSIGN_OR_RETURN(auto columns,
                          internal::FindColumns(*batch.schema(), spec.keys, "repartition"));
  const internal::KeyEncoder encoder(std::move(columns));
  GNOMON_ASSIGN_OR_RETURN(const auto keys, encoder.Encode(batch));
  for (size_t row = 0; row < partitions.size(); ++row) {
    constexpr uint64_t kSeed = 0x7061'7274;
    const uint64_t hash = HashBytes(keys[static_cast<int64_t>(row)], kSeed);
    partitions[row] = static_cast<int32_t>(hash % count);
  }
  return partitions;
}

namespace internal {

namespace {

class RepartitionOperator : public Operator {
 public:
  RepartitionOperator(const Environment& environment, const Plan& plan, OperatorPtr input,
                      OperatorStats* stats)
      : Operator(environment, plan->schema(), stats),
        spec_(std::get<RepartitionSpec>(plan->spec())),
        input_(std::move(input)),
        writer_(environment, plan->schema(), spec_.num_partitions, stats) {}

 private:
  Result<BatchPtr> Pull() override {
    if (!read_) GNOMON_RETURN_NOT_OK(ReadInput());
    while (true) {
      if (source_ == nullptr) {
        if (partition_ == spec_.num_partitions) return nullptr;
        GNOMON_ASSIGN_OR_RETURN(source_, writer_.Read(partition_));
      }
      GNOMON_ASSIGN_OR_RETURN(auto batch, source_->Next());
      if (batch != nullptr) return batch;
      source_.reset();
      writer_.Drop(partition_++);
    }
  }

  Status ReadInput() {
    int64_t position = 0;
    while (true) {
      GNOMON_ASSIGN_OR_RETURN(const auto batch, input_->Next());
      if (batch == nullptr) break;
      GNOMON_ASSIGN_OR_RETURN(const auto partitions, PartitionOfRows(*batch, spec_, position));
      GNOMON_RETURN_NOT_OK(writer_.Add(batch, partitions));
      position += batch->num_rows();
    }
    read_ = true;
    return Status::OK();
  }

  const RepartitionSpec spec_;
  const OperatorPtr input_;
  PartitionWriter writer_;
  bool read_ = false;
  int partition_ = 0;
  std::unique_ptr<BatchSource> source_;
};

}  // namespace

OperatorPtr MakeRepartitionOperator(const Environment& environment, const Plan& plan,
                                    OperatorPtr input, OperatorStats* stats) {
  return std::make_unique<RepartitionOperator>(environment, plan, std::move(input), stats);
}

}  // namespace internal

}  // namespace gnomon::dataset
