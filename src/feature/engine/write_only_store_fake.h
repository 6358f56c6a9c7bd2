#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <arrow/record_batch.h>

#include "feature/online/online_store.h"

namespace gnomon::feature {

/// An online store that is written to, and asked for nothing.
class WriteOnlyStore : public OnlineStore {
 public:
  Status Prepare(const Context&, std::span<const OnlineTable>) override { return Status::OK(); }
  Status DropExcept(const Context&, const std::string&, std::span<const std::string>) override {
    return Status::OK();
  }
  Status Teardown(const Context&, const std::string&) override { return Status::OK(); }
  Result<std::vector<OnlineValues>> Read(const Context&, std::span<const OnlineRead>) override {
    return std::vector<OnlineValues>();
  }
  Status Update(const Context&, const OnlineRead&,
                const std::function<Result<OnlineRows>(const OnlineValues&)>&) override {
    return Status::OK();
  }
  Result<int64_t> CountRows(const Context&, const OnlineTable&) override { return 0; }
};

/// Keeps what is committed, in the order of writing.
class CommittedRows : public WriteOnlyStore {
 public:
  struct Row {
    std::string view;
    std::string key;
    int64_t event_time;
    int64_t created_time;
    std::shared_ptr<arrow::RecordBatch> values;

    bool operator==(const Row& other) const {
      return view == other.view && key == other.key && event_time == other.event_time &&
             created_time == other.created_time && values->Equals(*other.values);
    }
  };
  std::vector<Row> rows;

  Result<std::unique_ptr<OnlineWriter>> BeginWrite(const Context&,
                                                   const OnlineTable& table) override {
    return std::make_unique<Writer>(this, table.view);
  }

 private:
  class Writer : public OnlineWriter {
   public:
    Writer(CommittedRows* store, std::string view) : store_(store), view_(std::move(view)) {}
    Status Write(const Context&, const OnlineRows& rows) override {
      for (size_t i = 0; i < rows.keys.size(); ++i) {
        rows_.push_back({view_, std::string(rows.keys[i]), rows.event_times[i],
                         rows.created_times[i], rows.values->Slice(static_cast<int64_t>(i), 1)});
      }
      return Status::OK();
    }
    Status Commit(const Context&) override {
      store_->rows.insert(store_->rows.end(), rows_.begin(), rows_.end());
      rows_.clear();
      return Status::OK();
    }

   private:
    CommittedRows* store_;
    std::string view_;
    std::vector<Row> rows_;
  };
};

}  // namespace gnomon::feature
