#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>

#include "base/text.h"
#include "dataset/external_sink.h"
#include "runtime/sink.h"
#include "tests/support/status.h"

/// An external sink for tests.
namespace gnomon::dataset::test {

/// A system of keys (int64, the first column) and texts (the second): a key's rows in the order in
/// which they were written, those of the last writing of its partition. Thread-safe.
class NotedRows : public ExternalSink, public runtime::Sink {
 public:
  Result<std::string> Write(const Context& context, const std::string& parameters,
                            BatchSource& rows) const override {
    if (parameters == "fail") return Error(ErrorKind::kUser, "the notes are full");
    std::map<int64_t, std::vector<std::string>> written;
    int64_t count = 0;
    while (true) {
      GNOMON_RETURN_NOT_OK(context.Check());
      GNOMON_ASSIGN_OR_RETURN(const auto batch, rows.Next());
      if (batch == nullptr) break;
      const auto& keys = static_cast<const arrow::Int64Array&>(*batch->column(0));
      const auto& texts = static_cast<const arrow::StringArray&>(*batch->column(1));
      count += batch->num_rows();
      for (int64_t i = 0; i < batch->num_rows(); ++i)
        written[keys.IsNull(i) ? -1 : keys.Value(i)].push_back(texts.GetString(i));
    }
    const std::lock_guard lock(mutex_);
    ++writes_;
    for (auto& [key, values] : written) notes_[key] = std::move(values);
    return Concat(parameters, ":", count);
  }

  Status Commit(const Context& context, std::string_view token) override {
    GNOMON_RETURN_NOT_OK(context.Check());
    committed_.emplace_back(token);
    return Status::OK();
  }
  Status Abort(const Context& /*context*/, std::string_view /*token*/) override {
    return Status::OK();
  }
  Status Clean(const Context& /*context*/, std::span<const std::string> /*pending*/) override {
    return Status::OK();
  }

  const std::map<int64_t, std::vector<std::string>>& notes() const { return notes_; }
  const std::vector<std::string>& committed() const { return committed_; }
  int writes() const { return writes_; }

 private:
  mutable std::mutex mutex_;
  mutable std::map<int64_t, std::vector<std::string>> notes_;
  mutable int writes_ = 0;
  std::vector<std::string> committed_;
};

/// The tokens that a write gives.
inline std::vector<std::string> TokensOf(BatchSource& source) {
  std::vector<std::string> tokens;
  while (const auto batch = gnomon::test::ValueOf(source.Next())) {
    const auto& column = static_cast<const arrow::BinaryArray&>(*batch->column(0));
    for (int64_t i = 0; i < column.length(); ++i) tokens.push_back(column.GetString(i));
  }
  return tokens;
}

}  // namespace gnomon::dataset::test
