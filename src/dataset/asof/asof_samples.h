#pragma once

#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "dataset/asof/asof_join.h"
#include "table/column.h"
#include "tests/support/status.h"
#include "tests/support/table.h"

/// Random labels and features, the brute force that judges every join, and a run of one.
namespace gnomon::dataset::test {

using gnomon::test::ValueOf;
using table::PartitionedTable;
__extension__ typedef __int128 Nanos;

struct Random {
  explicit Random(uint64_t seed) : engine(seed) {}
  int64_t Int(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(engine);
  }
  bool Chance(double probability) { return std::bernoulli_distribution(probability)(engine); }
  std::mt19937_64 engine;
};

inline constexpr int64_t kSecond = 1'000'000'000;  ///< nanoseconds

struct Row {
  std::optional<int64_t> key;
  std::optional<int64_t> second_key;
  std::optional<int64_t> time;  ///< in the table's unit
  std::optional<int64_t> created;
};

/// A table as numbers, for the oracle.
struct Side {
  arrow::TimeUnit::type unit;
  arrow::TimeUnit::type created_unit;
  bool has_created = false;
  std::vector<Row> rows;
};

inline int64_t NanosOf(arrow::TimeUnit::type unit) {
  return table::UnitNanos(*arrow::timestamp(unit));
}

/// Rules 1, 2, 3, 4 and 6 of the point-in-time semantics, word by word: the winning row or -1.
inline std::vector<int64_t> Oracle(const Side& left, const Side& right, const AsOfFeatures& options,
                                   bool two_keys) {
  std::vector<int64_t> winners;
  for (const Row& label : left.rows) {
    std::tuple<Nanos, Nanos, int64_t> best{-(Nanos{1} << 100), 0, -1};
    for (size_t i = 0; i < right.rows.size(); ++i) {
      const Row& row = right.rows[i];
      if (!label.key || !label.time || !row.time || row.key != label.key) continue;
      if (two_keys && (!label.second_key || row.second_key != label.second_key)) continue;
      const Nanos t = Nanos{*label.time} * NanosOf(left.unit);
      const Nanos at = Nanos{*row.time} * NanosOf(right.unit);
      const Nanos tolerance = Nanos{options.tolerance} * 1000;
      if (at > t || (tolerance > 0 && at < t - tolerance)) continue;
      Nanos created = -(Nanos{1} << 100);
      if (!options.created.empty() && row.created)
        created = Nanos{*row.created} * NanosOf(right.created_unit);
      if (options.filter_by_created && created > t) continue;
      if (options.created_before && created > Nanos{*options.created_before} * 1000) continue;
      best = std::max(best, {at, created, static_cast<int64_t>(i)});
    }
    winners.push_back(std::get<2>(best));
  }
  return winners;
}

inline arrow::TimeUnit::type RandomUnit(Random* random) {
  return static_cast<arrow::TimeUnit::type>(random->Int(0, 3));
}

inline Side RandomSide(Random* random, int64_t rows, bool is_label) {
  Side side{.unit = RandomUnit(random),
            .created_unit = RandomUnit(random),
            .has_created = !is_label && random->Chance(0.5),
            .rows = {}};
  const int64_t span = random->Int(1, 60);  // seconds, also before 1970
  const bool sorted = random->Chance(0.3);
  for (int64_t i = 0; i < rows; ++i) {
    Row row;
    if (!random->Chance(0.05)) row.key = random->Chance(0.4) ? 3 : random->Int(-2, 9);
    if (!random->Chance(0.05)) row.second_key = random->Int(0, 1);
    const auto time_in = [&](arrow::TimeUnit::type unit) {
      const int64_t per_second = kSecond / NanosOf(unit);
      const int64_t part = random->Chance(0.5) ? 0 : random->Int(0, per_second - 1);
      return random->Int(-span, span) * per_second + part;
    };
    if (!random->Chance(0.03)) row.time = time_in(side.unit);
    if (!random->Chance(0.1)) row.created = time_in(side.created_unit);
    if (i > 0 && random->Chance(0.1)) row = side.rows[static_cast<size_t>(random->Int(0, i - 1))];
    side.rows.push_back(row);
  }
  if (sorted) {
    std::ranges::stable_sort(side.rows, {}, [](const Row& row) { return row.time; });
  }
  return side;
}

enum class KeyType { kInt64, kInt32, kUint16, kText };

inline std::shared_ptr<arrow::Array> Keys(const Side& side, KeyType type) {
  std::unique_ptr<arrow::ArrayBuilder> builder;
  arrow::StringBuilder text;
  arrow::Int64Builder numbers;
  for (const Row& row : side.rows) {
    // No negative keys where they would not fit: they stay apart from all others.
    const bool fits = row.key && (type != KeyType::kUint16 || *row.key >= 0);
    if (type == KeyType::kText) {
      CHECK_OK(row.key ? text.Append("key-" + std::to_string(*row.key)) : text.AppendNull());
    } else {
      CHECK_OK(fits ? numbers.Append(*row.key) : numbers.AppendNull());
    }
  }
  if (type == KeyType::kText) return ValueOf(text.Finish());
  const auto array = ValueOf(numbers.Finish());
  const auto narrow = type == KeyType::kInt32    ? arrow::int32()
                      : type == KeyType::kUint16 ? arrow::uint16()
                                                 : arrow::int64();
  return ValueOf(table::CastLossless(array, narrow));
}

inline std::shared_ptr<arrow::Array> Numbers(const Side& side, auto&& get,
                                             const std::shared_ptr<arrow::DataType>& type) {
  arrow::Int64Builder builder;
  for (const Row& row : side.rows) {
    const std::optional<int64_t> value = get(row);
    CHECK_OK(value ? builder.Append(*value) : builder.AppendNull());
  }
  return ValueOf(ValueOf(builder.Finish())->View(type));
}

inline std::shared_ptr<arrow::Table> LeftTable(const Side& side, KeyType key) {
  arrow::Int64Builder ids;
  for (size_t i = 0; i < side.rows.size(); ++i) CHECK_OK(ids.Append(static_cast<int64_t>(i)));
  const arrow::ArrayVector columns = {
      ValueOf(ids.Finish()), Keys(side, key),
      Numbers(
          side, [](const Row& row) { return row.second_key; }, arrow::int64()),
      Numbers(
          side, [](const Row& row) { return row.time; }, arrow::timestamp(side.unit))};
  return arrow::Table::Make(
      arrow::schema(
          {arrow::field("id", columns[0]->type()), arrow::field("key", columns[1]->type()),
           arrow::field("key2", columns[2]->type()), arrow::field("t", columns[3]->type())}),
      columns);
}

/// Features: the row's number, a text and a double that is sometimes null.
inline std::shared_ptr<arrow::Table> RightTable(const Side& side, KeyType key) {
  arrow::Int64Builder numbers;
  arrow::StringBuilder texts;
  arrow::DoubleBuilder doubles;
  for (size_t i = 0; i < side.rows.size(); ++i) {
    CHECK_OK(numbers.Append(static_cast<int64_t>(i)));
    CHECK_OK(texts.Append("row " + std::to_string(i)));
    CHECK_OK(i % 3 == 0 ? doubles.AppendNull() : doubles.Append(static_cast<double>(i) / 7));
  }
  const arrow::ArrayVector columns = {
      ValueOf(texts.Finish()),
      Numbers(
          side, [](const Row& row) { return row.second_key; }, arrow::int64()),
      Numbers(
          side, [](const Row& row) { return row.time; }, arrow::timestamp(side.unit)),
      Keys(side, key),
      Numbers(
          side, [](const Row& row) { return row.created; }, arrow::timestamp(side.created_unit)),
      ValueOf(numbers.Finish()),
      ValueOf(doubles.Finish())};
  arrow::FieldVector fields;
  const std::vector<std::string> names = {"text",    "key2",   "at",   "key",
                                          "created", "number", "value"};
  for (size_t i = 0; i < names.size(); ++i)
    fields.push_back(arrow::field(names[i], columns[i]->type()));
  return arrow::Table::Make(arrow::schema(fields), columns);
}

inline Result<std::shared_ptr<arrow::Table>> Run(const Context& context, AsOfRequest request,
                                                 AsOfStats* stats = nullptr) {
  GNOMON_ASSIGN_OR_RETURN(const auto join, PointInTimeJoin::Make(context, std::move(request)));
  arrow::RecordBatchVector batches;
  while (true) {
    GNOMON_ASSIGN_OR_RETURN(auto batch, join->Next());
    if (batch == nullptr) break;
    GNOMON_RETURN_NOT_OK(batch->ValidateFull());
    batches.push_back(std::move(batch));
  }
  if (stats != nullptr) *stats = join->stats();
  return arrow::Table::FromRecordBatches(join->schema(), batches);
}

/// The expected table: the left columns and the features of the winners.
inline std::shared_ptr<arrow::Table> Expected(const arrow::Table& left, const arrow::Table& right,
                                              const std::vector<int64_t>& winners,
                                              const std::vector<std::string>& features) {
  arrow::FieldVector fields = left.schema()->fields();
  arrow::ChunkedArrayVector columns = left.columns();
  for (const std::string& name : features) {
    columns.push_back(std::make_shared<arrow::ChunkedArray>(
        ValueOf(table::Gather(*right.GetColumnByName(name), winners))));
    fields.push_back(arrow::field(name, columns.back()->type()));
  }
  return arrow::Table::Make(arrow::schema(fields), columns, left.num_rows());
}

}  // namespace gnomon::dataset::test
