#include "table/key_index.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <string_view>
#include <variant>

#include <arrow/array.h>
#include <arrow/type.h>
#include <arrow/util/byte_size.h>

#include "base/ids.h"
#include "table/key_column_internal.h"
#include "table/key_table_internal.h"

namespace gnomon::table {

static_assert(KeyIndex::kAbsent == internal::kNoKey);

namespace {

using internal::KeyClass;
using internal::KeyColumn;
using internal::kFull;
using internal::kMaxKeys;
using internal::kNullTag;
using internal::WordKey;

/// Rows that are made canonical, hashed and prefetched together.
constexpr int64_t kBatchRows = 512;

using OneWordTable = internal::KeyTable<internal::WordStore<1>>;
using TwoWordTable = internal::KeyTable<internal::WordStore<2>>;
using BytesTable = internal::KeyTable<internal::BytesStore>;

/// Writes lookup(key, hash) to each row's id, or kNull.
template <size_t kNumWords, typename Table, typename Lookup>
void LookUpWords(const Table& table, const std::vector<KeyColumn>& columns, std::span<int32_t> ids,
                 Lookup&& lookup) {
  std::array<std::array<uint64_t, kBatchRows>, kNumWords> words;
  std::array<uint8_t, kBatchRows> tags;
  std::array<WordKey<kNumWords>, kBatchRows> keys;
  std::array<uint64_t, kBatchRows> hashes;
  const auto num_rows = static_cast<int64_t>(ids.size());
  for (int64_t begin = 0; begin < num_rows; begin += kBatchRows) {
    const int64_t count = std::min(kBatchRows, num_rows - begin);
    const auto batch_ids = ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(count));
    tags.fill(0);
    for (size_t column = 0; column < columns.size(); ++column) {
      columns[column].LoadWords(begin, count, words[column].data(), words[kNumWords - 1].data(),
                                static_cast<uint8_t>(1U << column), tags.data());
    }
    for (size_t i = 0; i < batch_ids.size(); ++i) {
      for (size_t word = 0; word < kNumWords; ++word) keys[i].words[word] = words[word][i];
      keys[i].tag = tags[i];
      hashes[i] = keys[i].Hash();
      table.Prefetch(hashes[i]);
    }
    for (size_t i = 0; i < batch_ids.size(); ++i) {
      batch_ids[i] = (tags[i] & kNullTag) != 0 ? KeyIndex::kNull : lookup(keys[i], hashes[i]);
    }
  }
}

/// Turns batches of rows into byte strings. A lone column of bytes is taken as it is; otherwise
/// each column adds its length or tag first, so that ("a", "bc") and ("ab", "c") differ.
class RowBytes {
 public:
  RowBytes(const std::vector<KeyColumn>& columns, const std::vector<KeyClass>& classes)
      : columns_(columns), classes_(classes), parts_(columns.size()) {}

  void Load(int64_t begin, int64_t count) {
    tags_.fill(0);
    for (size_t column = 0; column < columns_.size(); ++column) {
      Part& part = parts_[column];
      part.huge.fill(0);
      if (classes_[column] == KeyClass::kBytes) {
        columns_[column].LoadBytes(begin, count, part.bytes.data(), part.huge.data());
      } else {
        columns_[column].LoadWords(begin, count, part.words[0].data(), part.words[1].data(), 1,
                                   part.huge.data());
      }
      for (size_t i = 0; i < static_cast<size_t>(count); ++i)
        tags_[i] = static_cast<uint8_t>(tags_[i] | (part.huge[i] & kNullTag));
    }
    if (columns_.size() == 1 && classes_[0] == KeyClass::kBytes) {
      keys_ = parts_[0].bytes;
    } else {
      Encode(static_cast<size_t>(count));
    }
  }

  bool IsNull(size_t i) const { return tags_[i] != 0; }
  /// Valid until the next Load.
  std::string_view key(size_t i) const { return keys_[i]; }

 private:
  struct Part {
    std::array<std::array<uint64_t, kBatchRows>, 2> words;
    std::array<std::string_view, kBatchRows> bytes;
    std::array<uint8_t, kBatchRows> huge;
  };

  void AppendWord(uint64_t word) {
    std::array<char, sizeof(word)> bytes;
    std::memcpy(bytes.data(), &word, sizeof(word));
    scratch_.append(bytes.data(), bytes.size());
  }

  void Encode(size_t count) {
    std::array<size_t, kBatchRows + 1> starts = {0};
    scratch_.clear();
    for (size_t i = 0; i < count; ++i) {
      for (size_t column = 0; !IsNull(i) && column < columns_.size(); ++column) {
        const Part& part = parts_[column];
        if (classes_[column] == KeyClass::kBytes) {
          AppendWord(part.bytes[i].size());
          scratch_.append(part.bytes[i]);
          continue;
        }
        scratch_.push_back(static_cast<char>(part.huge[i]));
        for (size_t word = 0; word < internal::NumWords(classes_[column]); ++word)
          AppendWord(part.words[word][i]);
      }
      starts[i + 1] = scratch_.size();
    }
    for (size_t i = 0; i < count; ++i) {
      keys_[i] = std::string_view(scratch_).substr(starts[i], starts[i + 1] - starts[i]);
    }
  }

  const std::vector<KeyColumn>& columns_;
  const std::vector<KeyClass>& classes_;
  std::vector<Part> parts_;
  std::array<uint8_t, kBatchRows> tags_;
  std::array<std::string_view, kBatchRows> keys_;
  std::string scratch_;
};

template <typename Lookup>
void LookUpBytes(const BytesTable& table, const std::vector<KeyColumn>& columns,
                 const std::vector<KeyClass>& classes, std::span<int32_t> ids, Lookup&& lookup) {
  RowBytes rows(columns, classes);
  std::array<uint64_t, kBatchRows> hashes;
  const auto num_rows = static_cast<int64_t>(ids.size());
  for (int64_t begin = 0; begin < num_rows; begin += kBatchRows) {
    const int64_t count = std::min(kBatchRows, num_rows - begin);
    const auto batch_ids = ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(count));
    rows.Load(begin, count);
    for (size_t i = 0; i < batch_ids.size(); ++i) {
      hashes[i] = HashBytes(rows.key(i));
      table.Prefetch(hashes[i]);
    }
    for (size_t i = 0; i < batch_ids.size(); ++i) {
      batch_ids[i] = rows.IsNull(i) ? KeyIndex::kNull : lookup(rows.key(i), hashes[i]);
    }
  }
}

template <typename Table, typename Lookup>
void LookUp(const Table& table, const std::vector<KeyColumn>& columns,
            const std::vector<KeyClass>& classes, std::span<int32_t> ids, Lookup&& lookup) {
  if constexpr (std::is_same_v<Table, OneWordTable>) {
    LookUpWords<1>(table, columns, ids, lookup);
  } else if constexpr (std::is_same_v<Table, TwoWordTable>) {
    LookUpWords<2>(table, columns, ids, lookup);
  } else {
    LookUpBytes(table, columns, classes, ids, lookup);
  }
}

}  // namespace

struct KeyIndex::Impl {
  std::vector<std::shared_ptr<arrow::DataType>> types;
  std::vector<KeyClass> classes;
  std::variant<BytesTable, OneWordTable, TwoWordTable> table;

  /// Has a column of Arrow's null type, so that no key was ever inserted?
  bool IsForNulls() const {
    return std::ranges::find(classes, KeyClass::kNothing) != classes.end();
  }

  Result<std::vector<KeyColumn>> Canonical(const std::vector<std::shared_ptr<arrow::Array>>& arrays,
                                           size_t num_rows, bool find) const {
    if (arrays.size() != classes.size()) {
      return Error(ErrorKind::kInternal, "number of key columns differs: ", arrays.size(), " for ",
                   classes.size());
    }
    std::vector<KeyColumn> columns;
    for (size_t i = 0; i < arrays.size(); ++i) {
      GNOMON_CHECK(static_cast<size_t>(arrays[i]->length()) == num_rows, arrays[i]->length(),
                   " for ", num_rows);
      GNOMON_ASSIGN_OR_RETURN(auto column, KeyColumn::Make(arrays[i]));
      const bool has_null_type =
          column.key_class() == KeyClass::kNothing || (classes[i] == KeyClass::kNothing && find);
      if (column.key_class() != classes[i] && !has_null_type) {
        return Error(ErrorKind::kUser, "join key columns of types that cannot be compared: ",
                     arrays[i]->type()->ToString(), " with ", types[i]->ToString());
      }
      columns.push_back(std::move(column));
    }
    return columns;
  }
};

KeyIndex::KeyIndex() : impl_(std::make_unique<Impl>()) {}
KeyIndex::KeyIndex(KeyIndex&&) noexcept = default;
KeyIndex& KeyIndex::operator=(KeyIndex&&) noexcept = default;
KeyIndex::~KeyIndex() = default;

Result<KeyIndex> KeyIndex::Make(const std::vector<std::shared_ptr<arrow::DataType>>& types) {
  KeyIndex index;
  size_t num_words = 0;
  bool has_bytes = false;
  for (const auto& type : types) {
    GNOMON_ASSIGN_OR_RETURN(const KeyClass key_class, internal::KeyClassOf(*type));
    index.impl_->classes.push_back(key_class);
    num_words += internal::NumWords(key_class);
    has_bytes = has_bytes || key_class == KeyClass::kBytes;
  }
  index.impl_->types = types;
  if (!has_bytes && num_words == 1) index.impl_->table.emplace<OneWordTable>();
  if (!has_bytes && num_words == 2) index.impl_->table.emplace<TwoWordTable>();
  return index;
}

Status KeyIndex::Insert(const std::vector<std::shared_ptr<arrow::Array>>& columns,
                        std::span<int32_t> ids) {
  GNOMON_ASSIGN_OR_RETURN(const auto keys, impl_->Canonical(columns, ids.size(), /*find=*/false));
  bool full = false;
  try {
    std::visit(
        [&](auto& table) {
          LookUp(table, keys, impl_->classes, ids, [&](const auto& key, uint64_t hash) {
            const int32_t id = table.Insert(key, hash);
            full = full || id == kFull;
            return id;
          });
        },
        impl_->table);
  } catch (const std::bad_alloc&) {
    return Error(ErrorKind::kExhausted, "out of memory for the index of join keys: ", size(),
                 " keys");
  }
  if (full) return Error(ErrorKind::kExhausted, "more distinct join keys than ids: ", kMaxKeys);
  return Status::OK();
}

Status KeyIndex::Insert(const std::vector<std::shared_ptr<arrow::Array>>& columns,
                        std::span<int32_t> ids, MemoryReservation* memory) {
  const auto num_rows = static_cast<int64_t>(ids.size());
  if (memory->TryGrow(BytesToInsert(columns, num_rows))) {
    GNOMON_RETURN_NOT_OK(Insert(columns, ids));
    memory->Shrink(std::max<int64_t>(0, memory->bytes() - num_bytes()));
    return Status::OK();
  }
  // Most keys are often known: how many are not costs a look at each, a few rows at a time since
  // they may bring one key several times.
  for (int64_t begin = 0; begin < num_rows; begin += kBatchRows) {
    const int64_t count = std::min(kBatchRows, num_rows - begin);
    const auto some = ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(count));
    std::vector<std::shared_ptr<arrow::Array>> slices;
    for (const auto& column : columns) slices.push_back(column->Slice(begin, count));
    GNOMON_RETURN_NOT_OK(Find(slices, some));
    GNOMON_RETURN_NOT_OK(
        memory->Grow(BytesToInsert(slices, std::ranges::count(some, KeyIndex::kAbsent))));
    GNOMON_RETURN_NOT_OK(Insert(slices, some));
    memory->Shrink(std::max<int64_t>(0, memory->bytes() - num_bytes()));
  }
  return Status::OK();
}

Status KeyIndex::Find(const std::vector<std::shared_ptr<arrow::Array>>& columns,
                      std::span<int32_t> ids) const {
  GNOMON_ASSIGN_OR_RETURN(const auto keys, impl_->Canonical(columns, ids.size(), /*find=*/true));
  if (impl_->IsForNulls()) {
    for (size_t row = 0; row < ids.size(); ++row) {
      const bool null = std::ranges::any_of(
          columns, [&](const auto& column) { return column->IsNull(static_cast<int64_t>(row)); });
      ids[row] = null ? kNull : kAbsent;
    }
    return Status::OK();
  }
  try {
    std::visit(
        [&](const auto& table) {
          LookUp(table, keys, impl_->classes, ids,
                 [&](const auto& key, uint64_t hash) { return table.Find(key, hash); });
        },
        impl_->table);
  } catch (const std::bad_alloc&) {
    return Error(ErrorKind::kExhausted, "out of memory for looking up join keys: ", ids.size(),
                 " rows");
  }
  return Status::OK();
}

Status KeyIndex::Partition(const std::vector<std::shared_ptr<arrow::Array>>& columns,
                           int32_t num_partitions, std::span<int32_t> partitions) const {
  GNOMON_ASSIGN_OR_RETURN(const auto keys,
                          impl_->Canonical(columns, partitions.size(), /*find=*/false));
  // The low bits: the tables of one partition's keys go by the high ones.
  const auto partition_of = [&](const auto& /*key*/, uint64_t hash) {
    return static_cast<int32_t>((hash & 0xffff'ffff) * static_cast<uint64_t>(num_partitions) >> 32);
  };
  try {
    std::visit(
        [&](const auto& table) { LookUp(table, keys, impl_->classes, partitions, partition_of); },
        impl_->table);
  } catch (const std::bad_alloc&) {
    return Error(ErrorKind::kExhausted, "out of memory for hashing join keys: ", partitions.size(),
                 " rows");
  }
  return Status::OK();
}

int64_t KeyIndex::size() const {
  return std::visit([](const auto& table) { return table.size(); }, impl_->table);
}

int64_t KeyIndex::num_bytes() const {
  return std::visit([](const auto& table) { return table.num_bytes(); }, impl_->table);
}

int64_t KeyIndex::BytesToInsert(const std::vector<std::shared_ptr<arrow::Array>>& columns,
                                int64_t new_keys) const {
  int64_t key_bytes = 0;
  for (const auto& column : columns) {
    // Beside its bytes a part of a key has a length, or a tag and its words.
    key_bytes += arrow::util::ReferencedBufferSize(*column).ValueOr(0) + 17 * new_keys;
  }
  return std::visit([&](const auto& table) { return table.BytesToAdd(new_keys, key_bytes); },
                    impl_->table);
}

}  // namespace gnomon::table
