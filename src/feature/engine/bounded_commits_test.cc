#include "feature/engine/bounded_commits.h"

#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/text.h"
#include "feature/engine/failed_rows.h"
#include "feature/engine/online_blocks.h"
#include "feature/engine/write_only_store_fake.h"
#include "tests/support/status.h"

namespace gnomon::feature {
namespace {

using test::RequireOk;
using test::ValueOf;

/// Keeps the keys of committed rows; nothing else of a store is asked for. Rows that are refused
/// are found from the last one on, as a store looks at them in its own order.
class KeyStore : public WriteOnlyStore {
 public:
  std::vector<std::string> keys;
  std::function<bool(std::string_view key)> refuses = [](std::string_view) { return false; };
  std::vector<size_t> commits;  ///< keys after each

  Result<std::unique_ptr<OnlineWriter>> BeginWrite(const Context&, const OnlineTable&) override {
    return std::make_unique<Writer>(this);
  }
  Result<int64_t> CountRows(const Context&, const OnlineTable&) override {
    return static_cast<int64_t>(keys.size());
  }

 private:
  class Writer : public OnlineWriter {
   public:
    explicit Writer(KeyStore* store) : store_(store) {}
    Status Write(const Context&, const OnlineRows& rows) override {
      for (size_t row = rows.keys.size(); row-- > 0;) {
        if (!store_->refuses(rows.keys[row])) continue;
        return MakeError(ErrorKind::kUser, Concat("odd value in row ", row),
                         {.file = {}, .line = 0, .column = 0, .row = static_cast<int64_t>(row)},
                         "make it even");
      }
      open_.insert(open_.end(), rows.keys.begin(), rows.keys.end());
      CHECK(rows.values->num_rows() == static_cast<int64_t>(rows.keys.size()));
      CHECK(rows.event_times.size() == rows.keys.size());
      return Status::OK();
    }
    Status Commit(const Context&) override {
      store_->keys.insert(store_->keys.end(), open_.begin(), open_.end());
      store_->commits.push_back(store_->keys.size());
      return Status::OK();
    }

   private:
    KeyStore* store_;
    std::vector<std::string> open_;
  };
};

/// Blocks of so many rows, whose keys count on.
NextOnlineBlock Blocks(std::vector<int64_t> sizes) {
  auto next = std::make_shared<size_t>(0);
  auto key = std::make_shared<int64_t>(0);
  return [=]() -> Result<std::optional<OnlineBlock>> {
    if (*next == sizes.size()) return std::nullopt;
    const int64_t rows = sizes[(*next)++];
    OnlineBlock block;
    for (int64_t row = 0; row < rows; ++row) {
      block.key_bytes += std::to_string((*key)++);
      block.key_ends.push_back(block.key_bytes.size());
    }
    block.event_times.resize(static_cast<size_t>(rows));
    block.created_times.resize(static_cast<size_t>(rows));
    block.values = arrow::RecordBatch::Make(arrow::schema({}), rows, arrow::ArrayVector{});
    return block;
  };
}

struct Run {
  KeyStore store;
  std::vector<int64_t> told;  ///< by after_commit
  int64_t rows = 0;

  Run(const std::vector<int64_t>& sizes, int64_t rows_per_commit, int64_t committed) {
    const Context context;
    const OnlineTable table;
    const MaterializationOptions options = {.rows_per_commit = rows_per_commit,
                                            .committed_rows = committed,
                                            .after_commit = [this](int64_t number) -> Status {
                                              told.push_back(number);
                                              return Status::OK();
                                            }};
    ProgressPhase phase(nullptr, "test", 0, "keys");
    BoundedCommits commits(context, store, table, options);
    RequireOk(commits.Begin());
    FailedRows failed;
    RequireOk(WriteBlocks(
        context, Blocks(sizes), 0, committed, std::min(kOnlineBatchRows, rows_per_commit),
        [&](const OnlineRows& batch) { return commits.Write(batch); }, &failed, &phase));
    RequireOk(commits.Finish());
    rows = commits.rows();
  }
};

}  // namespace

TEST_CASE("rows are committed in parts, and what is left of them at the end") {
  const Run whole({40, 7, 20}, 1000, 0);
  CHECK(whole.store.commits == std::vector<size_t>{67});
  CHECK(whole.told.empty());
  CHECK(whole.rows == 67);
  const Run parts({40, 7, 20}, 16, 0);
  CHECK(parts.store.keys == whole.store.keys);
  CHECK(parts.store.commits.back() == 67);
  CHECK(parts.store.commits.size() == parts.told.size() + 1);
  for (size_t i = 0; i < parts.told.size(); ++i)
    CHECK(parts.told[i] == static_cast<int64_t>(parts.store.commits[i]));
  size_t before = 0;
  for (const size_t now : parts.store.commits) {
    CHECK(now - before <= 31);  // a part and the batch that fills it
    before = now;
  }
  CHECK(Run({}, 16, 0).store.commits == std::vector<size_t>{0});
}

TEST_CASE("a run behind committed rows writes the others, wherever it begins") {
  const std::vector<int64_t> sizes = {40, 7, 20};
  const Run whole(sizes, 16, 0);
  for (int64_t committed = 0; committed <= 67; ++committed) {
    CAPTURE(committed);
    const Run rest(sizes, 16, committed);
    CHECK(rest.rows == 67);
    CHECK(std::equal(rest.store.keys.begin(), rest.store.keys.end(),
                     whole.store.keys.begin() + committed, whole.store.keys.end()));
    if (!rest.told.empty()) CHECK(rest.told.front() > committed);
  }
}

TEST_CASE("rows that a store refuses are counted, and nothing is committed") {
  KeyStore store;
  FailedRows failed;
  const auto find = [&](int64_t num_rows) {
    const auto block = ValueOf(Blocks({num_rows})());
    OnlineRows rows{.keys = {},
                    .event_times = block->event_times,
                    .created_times = block->created_times,
                    .values = block->values};
    size_t begin = 0;
    for (const size_t end : block->key_ends) {
      rows.keys.push_back(std::string_view(block->key_bytes).substr(begin, end - begin));
      begin = end;
    }
    RequireOk(FindUnwritable({}, store, {}, rows, &failed));
  };
  find(600);
  CHECK(failed.count() == 0);
  CHECK_OK(failed.ToStatus());
  store.refuses = [](std::string_view key) { return key.ends_with("77"); };
  find(600);
  CHECK(failed.count() == 6);
  const Status status = failed.ToStatus();
  CHECK_ERROR(status, ErrorKind::kUser, "6 rows cannot be written: entity key 0x");
  CHECK(status.message().find(": odd value; ") != std::string::npos);
  CHECK(status.message().ends_with("; and 3 more"));
  CHECK(HintOf(status) == "make it even");
  store.refuses = [](std::string_view) { return true; };
  find(3000);
  CHECK(failed.count() == FailedRows::kMostCounted);
  CHECK(failed.ToStatus().message().starts_with("at least 1000 rows cannot be written: "));
  CHECK(store.commits.empty());
}

TEST_CASE("any other error of a store ends the search for rows that it refuses") {
  class Broken : public KeyStore {
    Result<std::unique_ptr<OnlineWriter>> BeginWrite(const Context&, const OnlineTable&) override {
      return Error(ErrorKind::kUnavailable, "gone");
    }
  };
  Broken store;
  FailedRows failed;
  const auto block = ValueOf(Blocks({1})());
  const OnlineRows rows{.keys = {"0"},
                        .event_times = block->event_times,
                        .created_times = block->created_times,
                        .values = block->values};
  CHECK_ERROR(FindUnwritable({}, store, {}, rows, &failed), ErrorKind::kUnavailable, "gone");
  CHECK(failed.count() == 0);
}

}  // namespace gnomon::feature
