#include <atomic>
#include <cstdlib>
#include <new>
#include <set>
#include <string>

#include <arrow/builder.h>
#include <arrow/memory_pool.h>
#include <arrow/record_batch.h>
#include <arrow/table_builder.h>
#include <arrow/type.h>
#include <malloc.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "base/text.h"
#include "dataset/dataset.h"
#include "dataset/random_test.h"
#include "table/fingerprint.h"
#include "tests/support/status.h"

/// What sequences of operators that keep rows really hold, against the limit that they were given.
/// The bytes of this program's containers are counted where it asks for them, those of columns by
/// Arrow's pool. A failure prints its seed (random_test.h).

namespace {

std::atomic<int64_t> live_bytes{0};
std::atomic<int64_t> most_bytes{0};

/// Null until something is to be measured: the pool itself is made with `new`.
std::atomic<arrow::MemoryPool*> columns{nullptr};

int64_t BytesHeld() {
  const arrow::MemoryPool* const pool = columns.load();
  return live_bytes.load() + (pool == nullptr ? 0 : pool->bytes_allocated());
}

void NoteBytesHeld() {
  const int64_t held = BytesHeld();
  int64_t most = most_bytes.load();
  while (held > most && !most_bytes.compare_exchange_weak(most, held)) {
  }
}

}  // namespace

// Sanitizers have their own: there only the columns are counted, and between batches.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define GNOMON_TEST_SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define GNOMON_TEST_SANITIZED
#endif

#ifndef GNOMON_TEST_SANITIZED

namespace {

void* Counted(void* memory) {
  if (memory == nullptr) return nullptr;
  live_bytes += static_cast<int64_t>(::malloc_usable_size(memory));
  NoteBytesHeld();
  return memory;
}

void* OrThrow(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void Free(void* memory) {
  if (memory != nullptr) live_bytes -= static_cast<int64_t>(::malloc_usable_size(memory));
  std::free(memory);
}

}  // namespace

// The library's other forms of new and delete call these.
void* operator new(size_t size) { return OrThrow(Counted(std::malloc(size))); }
void* operator new(size_t size, std::align_val_t alignment) {
  const auto boundary = static_cast<size_t>(alignment);
  const size_t rounded = (size + boundary - 1) / boundary * boundary;
  return OrThrow(Counted(std::aligned_alloc(boundary, rounded)));
}
void operator delete(void* memory) noexcept { Free(memory); }
void operator delete(void* memory, size_t /*size*/) noexcept { Free(memory); }
void operator delete(void* memory, std::align_val_t /*alignment*/) noexcept { Free(memory); }
void operator delete(void* memory, size_t /*size*/, std::align_val_t /*alignment*/) noexcept {
  Free(memory);
}

#endif

namespace gnomon::dataset {

namespace {

using namespace test;  // NOLINT
using gnomon::test::RequireOk;
using gnomon::test::ValueOf;

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kBatchRows = 2000;

std::shared_ptr<arrow::Schema> RowSchema() {
  return arrow::schema({arrow::field("k", arrow::int64()), arrow::field("name", arrow::utf8()),
                        arrow::field("t", arrow::int64()), arrow::field("x", arrow::float64())});
}

/// Rows that are made when they are asked for, so that nobody holds them.
class MadeRows : public BatchSource {
 public:
  MadeRows(uint64_t seed, int64_t rows, int64_t keys, int64_t batch_rows)
      : random_(seed), left_(rows), keys_(keys), batch_rows_(batch_rows) {}

  Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    const int64_t rows = std::min(left_, batch_rows_);
    left_ -= rows;
    if (rows == 0) return nullptr;
    GNOMON_ASSIGN_OR_RETURN(const auto builder, arrow::RecordBatchBuilder::Make(
                                                    RowSchema(), arrow::default_memory_pool()));
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t key = random_.Int(0, keys_ - 1);
      GNOMON_RETURN_NOT_OK(builder->GetFieldAs<arrow::Int64Builder>(0)->Append(key));
      GNOMON_RETURN_NOT_OK(
          builder->GetFieldAs<arrow::StringBuilder>(1)->Append(Concat("name ", key % 1000)));
      GNOMON_RETURN_NOT_OK(
          builder->GetFieldAs<arrow::Int64Builder>(2)->Append(random_.Int(0, 5000)));
      GNOMON_RETURN_NOT_OK(builder->GetFieldAs<arrow::DoubleBuilder>(3)->Append(
          static_cast<double>(random_.Int(-1000, 1000)) / 8));
    }
    return builder->Flush();
  }

 private:
  Random random_;
  int64_t left_;
  const int64_t keys_;
  const int64_t batch_rows_;
};

struct Source {
  uint64_t seed;
  int64_t rows;
  int64_t keys;
};

struct Sequence {
  Dataset rows;
  std::vector<Source> sources;
  std::string description;
  int64_t num_operators = 0;
};

Dataset SourceRows(Sequence* sequence, Source source) {
  const std::string name = std::to_string(sequence->sources.size());
  sequence->sources.push_back(source);
  return Dataset(MakeNode(InputSpec{.name = name, .schema = RowSchema()}));
}

void AddOperator(Random& random, int64_t rows, Sequence* sequence) {
  using pit::AggregateFunction;
  Dataset& dataset = sequence->rows;
  ++sequence->num_operators;
  switch (random.Int(0, 3)) {
    case 0:
      dataset = dataset.Aggregate({"k", "t"}, {{AggregateFunction::kFirst, "name", "name"},
                                               {AggregateFunction::kSum, "x", "x"}});
      sequence->description += " aggregate";
      return;
    case 1:
      dataset = dataset.Aggregate({"k", "name", "t", "x"}, {});
      sequence->description += " distinct";
      return;
    case 2: {
      const std::string key = random.One<std::string>({"t", "k", "name", "x"});
      dataset = dataset.Sort({{.column = key, .descending = random.Chance(0.5)}});
      sequence->description += " sort";
      return;
    }
    default: {
      // Each key once, so that rows do not multiply.
      ++sequence->num_operators;
      const Dataset right = SourceRows(sequence, {random.One<uint64_t>({1, 2, 3}), rows / 2, rows})
                                .Aggregate({"k"}, {{AggregateFunction::kMax, "x", "most"}});
      dataset =
          dataset.Join(right, {.type = random.One<JoinType>({JoinType::kLeft, JoinType::kInner}),
                               .left_keys = {"k"},
                               .right_keys = {"k"}});
      dataset =
          dataset.Project({{"k", "k"}, {"name", "name"}, {"t", "t"}, {"x", "coalesce(most, x)"}});
      sequence->description += " join";
      return;
    }
  }
}

struct Outcome {
  std::string fingerprint;
  int64_t rows = 0;
  int64_t most = 0;  ///< bytes beyond those that were held before
  std::vector<OperatorStats> stats;
};

Outcome Run(const Sequence& sequence, int64_t limit) {
  MemoryBudget memory("test", limit);
  Context context;
  context.memory = &memory;
  ExecutionOptions options{.batch_rows = kBatchRows};
  for (size_t i = 0; i < sequence.sources.size(); ++i) {
    options.inputs[std::to_string(i)] =
        [source = sequence.sources[i]]() -> Result<std::unique_ptr<BatchSource>> {
      return std::make_unique<MadeRows>(source.seed, source.rows, source.keys, kBatchRows);
    };
  }
  Outcome outcome;
  columns = arrow::default_memory_pool();
  const int64_t before = BytesHeld();
  most_bytes = before;
  {
    const auto execution = ValueOf(sequence.rows.Stream(context, options));
    table::RunningFingerprint fingerprint(*execution->schema());
    while (const auto batch = ValueOf(execution->Next())) {
      RequireOk(fingerprint.Add(*batch));
      outcome.rows += batch->num_rows();
      NoteBytesHeld();
    }
    outcome.fingerprint = fingerprint.Finish(outcome.rows);
    outcome.stats = execution->Stats();
  }
  outcome.most = most_bytes.load() - before;
  CHECK(memory.used() == 0);
  return outcome;
}

/// What operators may hold beyond the limit, which does not grow with it: a buffer of some 40 KiB
/// of each partition that is being written, of which every thread may have sixteen, and of each
/// operator the keys of 1024 rows of each run that is being merged and some batches.
int64_t Floor(const Sequence& sequence) { return (sequence.num_operators + NumThreads()) * kMiB; }

TEST_CASE("operators that keep rows stay within the limit together, in any sequence") {
  constexpr int64_t kRows = 100'000;
  std::set<std::string> spilled;
  for (uint64_t seed = FirstSeed(), end = seed + NumCases(6); seed < end; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    Sequence sequence{Dataset(Error(ErrorKind::kInternal, "none")), {}, {}, 0};
    sequence.rows = SourceRows(&sequence, {seed, kRows, kRows});
    for (int64_t i = random.Int(2, 4); i > 0; --i) AddOperator(random, kRows, &sequence);
    CAPTURE(sequence.description);
    SetNumThreads(static_cast<int>(random.Int(1, 3)));
    CAPTURE(NumThreads());
    const Outcome free = Run(sequence, 0);
    const int64_t limit = random.One<int64_t>({4, 6, 8}) * kMiB;
    CAPTURE(limit);
    const Outcome limited = Run(sequence, limit);
    CHECK(limited.rows == free.rows);
    CHECK(limited.fingerprint == free.fingerprint);
    CHECK(limited.most <= limit + limit / 10 + Floor(sequence));
    for (const OperatorStats& one : limited.stats) {
      if (one.spilled_bytes > 0) spilled.insert(one.name);
    }
  }
  SetNumThreads(0);
  if (IsReplay()) return;
  for (const std::string name : {"sort", "join", "aggregate"}) {
    CAPTURE(name);
    CHECK(spilled.contains(name));
  }
}

}  // namespace

}  // namespace gnomon::dataset
