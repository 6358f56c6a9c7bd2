#include "cli/session.h"

#include <algorithm>
#include <cstdio>

#include <arrow/record_batch.h>
#include <malloc.h>

#include "base/files.h"
#include "base/text.h"
#include "base/time.h"
#include "net/json_columns.h"

namespace gnomon::cli {

Result<std::unique_ptr<feature::FeatureStore>> Session::OpenStore() {
  GNOMON_ASSIGN_OR_RETURN(auto store, feature::FeatureStore::Open(context, folder, yaml));
  const int64_t limit = store->config().memory_limit;
  if (limit > 0 && !memory_limit_given && repository_memory == nullptr) {
    repository_memory =
        std::make_unique<MemoryBudget>("memory_limit of feature_store.yaml", limit, context.memory);
    context.memory = repository_memory.get();
    ReturnFreedMemory(limit);
  }
  return store;
}

void ReturnFreedMemory(int64_t limit) {
  constexpr int64_t kSmallLimit = int64_t{1} << 30;
  constexpr int kMappedFrom = 1 << 20;
  if (limit > 0 && limit < kSmallLimit) ::mallopt(M_MMAP_THRESHOLD, kMappedFrom);
}

void Print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (text.empty() || text.back() != '\n') std::fputc('\n', stdout);
  std::fflush(stdout);
}

std::string TextTable::Format() const {
  std::vector<size_t> widths;
  for (const std::string& name : header) widths.push_back(name.size());
  std::vector<bool> numeric(header.size(), false);
  for (size_t i = 0; i < header.size(); ++i) {
    // A column of nothing but "-" has no numbers in it.
    numeric[i] = std::ranges::any_of(
        rows, [&](const auto& row) { return row[i].find_first_of("0123456789") != row[i].npos; });
  }
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].size());
      if (row[i].find_first_not_of("0123456789.,-+e%") != std::string::npos) numeric[i] = false;
    }
  }
  std::string text;
  auto line = [&](const std::vector<std::string>& cells, bool is_header) {
    std::string out;
    for (size_t i = 0; i < cells.size(); ++i) {
      const std::string padding(widths[i] - cells[i].size(), ' ');
      const bool right = numeric[i] && !is_header;
      out += (right ? padding : "") + cells[i] + (right ? "" : padding) + "  ";
    }
    out.erase(out.find_last_not_of(' ') + 1);
    text += out + "\n";
  };
  line(header, true);
  for (const auto& row : rows) line(row, false);
  return text;
}

Result<std::shared_ptr<arrow::RecordBatch>> ParseJsonRows(const std::string& argument) {
  std::string text = argument;
  if (argument.starts_with('@')) {
    GNOMON_ASSIGN_OR_RETURN(text, ReadFile(argument.substr(1)));
  }
  GNOMON_ASSIGN_OR_RETURN(auto document, net::JsonDocument::Parse(text));
  return document.AsTable();
}

Result<std::optional<int64_t>> ParseOptionalTime(const std::string& text) {
  if (text.empty()) return std::optional<int64_t>();
  GNOMON_ASSIGN_OR_RETURN(int64_t micros, ParseTimestamp(text));
  return std::optional(micros);
}

}  // namespace gnomon::cli
