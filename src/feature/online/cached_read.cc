#include <algorithm>
#include <utility>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "feature/online/cached_read_internal.h"
#include "table/row_columns.h"

namespace gnomon::feature::internal {
namespace {

Result<OnlineValues> DecodeRows(const OnlineRead& read, const table::RowCodec& codec,
                                std::span<const std::shared_ptr<const CachedRow>> rows) {
  std::vector<std::shared_ptr<arrow::DataType>> types;
  types.reserve(read.fields.size());
  for (const int field : read.fields) types.push_back(read.table->schema->field(field)->type());
  GNOMON_ASSIGN_OR_RETURN(auto columns, table::RowColumns::Make(types));
  GNOMON_RETURN_NOT_OK(columns.Start(static_cast<int64_t>(rows.size())));
  OnlineValues values;
  values.found.resize(rows.size());
  values.event_times.resize(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] == nullptr || !rows[i]->found) {
      GNOMON_RETURN_NOT_OK(columns.AppendNullRow());
      continue;
    }
    values.found[i] = true;
    values.event_times[i] = rows[i]->event_time;
    const bool taken = read.packed != nullptr &&
                       read.packed->Take(i, codec, read.packed->fields(), rows[i]->bytes);
    GNOMON_RETURN_NOT_OK(taken ? columns.AppendNullRow()
                               : codec.Decode(rows[i]->bytes, read.fields, &columns));
  }
  GNOMON_ASSIGN_OR_RETURN(values.columns, columns.Finish());
  return values;
}

}  // namespace

CachedTables::View& CachedTables::Of(const OnlineTable& table) {
  View& view = views_[{table.project, table.view}];
  if (view.prefix.empty()) {
    const uint64_t id = views_.size();
    view.prefix.assign(reinterpret_cast<const char*>(&id), sizeof(id));
  }
  return view;
}

std::shared_ptr<const CachedTable> CachedTables::Find(const OnlineTable& table) {
  const MutexLock lock(mutex_);
  View& view = Of(table);
  for (const Schema& known : view.tables) {
    if (known.schema == table.schema ||
        known.schema->Equals(*table.schema, /*check_metadata=*/false))
      return known.table;
  }
  auto made = std::make_shared<CachedTable>();
  made->tag = ++last_tag_;
  made->prefix = view.prefix;
  if (auto codec = table::RowCodec::Make(table.schema); codec.ok()) made->codec = *std::move(codec);
  for (int i = 0; i < table.schema->num_fields(); ++i) made->all_fields.push_back(i);
  view.tables.push_back({.schema = table.schema, .table = made});
  return made;
}

std::string CachedTables::PrefixOf(const OnlineTable& table) {
  const MutexLock lock(mutex_);
  return Of(table).prefix;
}

void CachedTables::Forget(const OnlineTable& table) {
  const MutexLock lock(mutex_);
  Of(table).tables.clear();
}

void CachedTables::ForgetAll() {
  const MutexLock lock(mutex_);
  for (auto& [name, view] : views_) view.tables.clear();
}

bool CachedRead::FindAll() {
  parts_.reserve(reads_.size());
  for (const OnlineRead& read : reads_) {
    Part& part = parts_.emplace_back();
    part.table = tables_->Find(*read.table);
    if (!part.table->codec.has_value()) return false;
    part.rows.resize(read.keys.size());
    for (size_t row = 0; row < read.keys.size(); ++row) {
      if (!read.keys[row].empty()) Find(read.keys[row], row, &part);
    }
  }
  // A table that does not exist is the store's to tell.
  return hits_ + misses_ > 0;
}

void CachedRead::Find(std::string_view key, size_t row, Part* part) {
  key_.assign(part->table->prefix).append(key);
  RowCache::Finding finding = cache_->Find(key_, part->table->tag, now_);
  auto& version = versions_[RowCache::ShardOf(key_)];
  if (version.has_value() && *version != finding.version) is_stable_ = false;
  version = finding.version;
  if (finding.row != nullptr) {
    ++hits_;
    part->rows[row] = std::move(finding.row);
    return;
  }
  ++misses_;
  part->missing.push_back(row);
  part->versions.push_back(finding.version);
}

Status CachedRead::ReadMissing(const Context& context, OnlineStore& store) {
  std::vector<OnlineRead> reads;
  std::vector<Part*> parts;
  for (size_t i = 0; i < parts_.size(); ++i) {
    Part& part = parts_[i];
    if (part.missing.empty()) continue;
    OnlineRead& read = reads.emplace_back(
        OnlineRead{.table = reads_[i].table, .keys = {}, .fields = part.table->all_fields});
    for (const size_t row : part.missing) read.keys.push_back(reads_[i].keys[row]);
    parts.push_back(&part);
  }
  GNOMON_ASSIGN_OR_RETURN(const auto values, store.Read(context, reads));
  for (size_t i = 0; i < values.size() && is_kept_; ++i)
    is_kept_ = Keep(reads[i], values[i], parts[i]).ok();
  return Status::OK();
}

Status CachedRead::Keep(const OnlineRead& read, const OnlineValues& values, Part* part) {
  const table::RowCodec& codec = *part->table->codec;
  const auto batch = arrow::RecordBatch::Make(
      codec.schema(), static_cast<int64_t>(read.keys.size()), values.columns);
  for (size_t i = 0; i < read.keys.size(); ++i) {
    auto row = std::make_shared<CachedRow>();
    if (values.found[i]) {
      row->found = true;
      row->event_time = values.event_times[i];
      GNOMON_RETURN_NOT_OK(codec.Encode(*batch, static_cast<int64_t>(i), &row->bytes));
      row->bytes.shrink_to_fit();
    }
    part->rows[part->missing[i]] = row;
    key_.assign(part->table->prefix).append(read.keys[i]);
    cache_->Fill(key_, part->table->tag, std::move(row), now_, part->versions[i]);
  }
  return Status::OK();
}

bool CachedRead::IsWhole() const {
  if (!is_kept_) return false;
  // One store read is whole in itself, and so is one row.
  if (hits_ == 0 || hits_ + misses_ == 1) return true;
  if (!is_stable_) return false;
  for (size_t shard = 0; shard < RowCache::kNumShards; ++shard) {
    if (versions_[shard].has_value() && !cache_->IsUnchanged(shard, *versions_[shard]))
      return false;
  }
  for (size_t i = 0; i < reads_.size(); ++i) {
    if (tables_->Find(*reads_[i].table) != parts_[i].table) return false;
  }
  return true;
}

Result<std::vector<OnlineValues>> CachedRead::Values() const {
  std::vector<OnlineValues> values;
  values.reserve(reads_.size());
  for (size_t i = 0; i < reads_.size(); ++i) {
    GNOMON_ASSIGN_OR_RETURN(values.emplace_back(),
                            DecodeRows(reads_[i], *parts_[i].table->codec, parts_[i].rows));
  }
  return values;
}

}  // namespace gnomon::feature::internal
