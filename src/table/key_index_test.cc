#include "table/key_index.h"

#include <map>
#include <optional>

#include <arrow/extension/uuid.h>
#include <arrow/scalar.h>
#include <doctest/doctest.h>

#include "base/memory.h"
#include "table/column.h"
#include "table/random_column.h"

namespace gnomon::table {

using test::Random;
using test::RandomArray;
using test::ValueOf;

namespace {

using Arrays = std::vector<std::shared_ptr<arrow::Array>>;
using Types = std::vector<std::shared_ptr<arrow::DataType>>;
using Ids = std::vector<int32_t>;

std::shared_ptr<arrow::Array> ArrayOf(const std::shared_ptr<arrow::DataType>& type,
                                      std::string_view json) {
  return ValueOf(arrow::json::ArrayFromJSONString(type, json));
}

Types TypesOf(const Arrays& columns) {
  Types types;
  for (const auto& column : columns) types.push_back(column->type());
  return types;
}

Ids Insert(KeyIndex* index, const Arrays& columns) {
  Ids ids(static_cast<size_t>(columns[0]->length()));
  gnomon::test::RequireOk(index->Insert(columns, ids));
  return ids;
}

Ids Find(const KeyIndex& index, const Arrays& columns) {
  Ids ids(static_cast<size_t>(columns[0]->length()));
  gnomon::test::RequireOk(index.Find(columns, ids));
  return ids;
}

/// Inserts the first and finds the second.
Ids FindIn(const Arrays& inserted, const Arrays& found) {
  KeyIndex index = ValueOf(KeyIndex::Make(TypesOf(inserted)));
  Insert(&index, inserted);
  return Find(index, found);
}

/// The key of a row as text, from Arrow's scalars; none for a null.
std::optional<std::string> TextKey(const Arrays& columns, int64_t row) {
  std::string key;
  for (const auto& column : columns) {
    const auto scalar = ValueOf(column->GetScalar(row));
    if (!scalar->is_valid) return std::nullopt;
    const std::string text = scalar->ToString();
    key += std::to_string(text.size()) + ":" + text;
  }
  return key;
}

}  // namespace

TEST_CASE("ids are those of an ordered map, for many key shapes") {
  const auto micros = arrow::timestamp(arrow::TimeUnit::MICRO);
  const std::vector<Types> shapes = {
      {arrow::int64()},
      {arrow::int8()},
      {arrow::uint64()},
      {arrow::boolean()},
      {micros},
      {arrow::date32()},
      {arrow::utf8()},
      {arrow::large_binary()},
      {arrow::fixed_size_binary(2)},
      {arrow::uint64(), arrow::int8()},
      {arrow::int32(), arrow::boolean()},
      {arrow::utf8(), arrow::int64()},
      {arrow::utf8(), arrow::utf8()},
      {arrow::int8(), arrow::int8(), arrow::int8()},
      {micros, arrow::int8()},
      {arrow::date32(), arrow::uint64(), arrow::utf8(), arrow::boolean()},
  };
  for (const Types& types : shapes) {
    for (uint64_t seed = 0; seed < 3; ++seed) {
      CAPTURE(seed);
      CAPTURE(types[0]->ToString());
      CAPTURE(types.size());
      Random random(seed);
      KeyIndex index = ValueOf(KeyIndex::Make(types));
      std::map<std::string, int32_t> oracle;
      for (int batch = 0; batch < 4; ++batch) {
        Arrays columns;
        const int64_t rows = random.Int(0, 1500);
        for (const auto& type : types)
          columns.push_back(RandomArray(type, rows + 3, &random)->Slice(3));
        const Ids before = Find(index, columns);
        Ids expected_before;
        Ids expected;
        for (int64_t row = 0; row < rows; ++row) {
          const auto key = TextKey(columns, row);
          expected_before.push_back(!key                    ? KeyIndex::kNull
                                    : oracle.contains(*key) ? oracle[*key]
                                                            : KeyIndex::kAbsent);
        }
        for (int64_t row = 0; row < rows; ++row) {
          const auto key = TextKey(columns, row);
          if (key) oracle.try_emplace(*key, static_cast<int32_t>(oracle.size()));
          expected.push_back(key ? oracle[*key] : KeyIndex::kNull);
        }
        for (size_t row = 0; row < expected_before.size(); ++row) {
          const bool newly_known = expected_before[row] >= 0 && before[row] < 0;
          REQUIRE_MESSAGE(!newly_known, "row ", row);
          if (expected_before[row] != before[row])
            FAIL("row ", row, ": ", before[row], ", expected ", expected_before[row]);
        }
        CHECK(Insert(&index, columns) == expected);
        CHECK(Find(index, columns) == expected);
        CHECK(index.size() == static_cast<int64_t>(oracle.size()));
      }
    }
  }
}

TEST_CASE("a million keys are found again") {
  arrow::Int64Builder builder;
  constexpr int64_t kKeys = 1'000'000;
  for (int64_t i = 0; i < kKeys; ++i) REQUIRE(builder.Append(i * 4096).ok());
  const auto keys = ValueOf(builder.Finish());
  KeyIndex index = ValueOf(KeyIndex::Make({arrow::int64()}));
  const Ids ids = Insert(&index, {keys});
  CHECK(index.size() == kKeys);
  CHECK(Find(index, {keys}) == ids);
  CHECK(ids.front() == 0);
  CHECK(ids.back() == kKeys - 1);
}

TEST_CASE("rows are cut up by key alike in every width and batch") {
  Random random(11);
  const auto narrow = RandomArray(arrow::int32(), 3000, &random);
  const auto wide = ValueOf(CastLossless(narrow, arrow::int64()));
  const KeyIndex index = ValueOf(KeyIndex::Make({arrow::int64()}));
  Ids partitions(3000);
  Ids others(3000);
  gnomon::test::RequireOk(index.Partition({narrow}, 7, partitions));
  gnomon::test::RequireOk(index.Partition({wide}, 7, others));
  CHECK(partitions == others);
  std::map<int32_t, int> sizes;
  for (size_t row = 0; row < partitions.size(); ++row) {
    const bool is_null = narrow->IsNull(static_cast<int64_t>(row));
    CHECK((partitions[row] == KeyIndex::kNull) == is_null);
    if (!is_null) ++sizes[partitions[row]];
  }
  CHECK(sizes.begin()->first == 0);
  CHECK(sizes.rbegin()->first == 6);
}

TEST_CASE("an index takes no more memory than it announced") {
  for (const auto& type : {arrow::int64(), arrow::utf8()}) {
    CAPTURE(type->ToString());
    Random random(7);
    KeyIndex index = ValueOf(KeyIndex::Make({type, arrow::int32()}));
    const int64_t empty = index.num_bytes();
    for (int round = 0; round < 30; ++round) {
      const Arrays columns = {RandomArray(type, 5000, &random),
                              RandomArray(arrow::int32(), 5000, &random)};
      const int64_t before = index.num_bytes();
      const int64_t announced = index.BytesToInsert(columns, 5000);
      Insert(&index, columns);
      CHECK(index.num_bytes() <= before + announced);
    }
    CHECK(index.num_bytes() > empty);
    CHECK(index.num_bytes() >= index.size() * 8);
  }
}

TEST_CASE("an index grows within its reservation, whatever its rows bring") {
  Random random(8);
  const auto keys = RandomArray(arrow::int64(), 20'000, &random);
  KeyIndex roomy = ValueOf(KeyIndex::Make({arrow::int64()}));
  const Ids expected = Insert(&roomy, {keys});
  // The last growth stands beside the table before it.
  for (const int64_t limit : {2 * roomy.num_bytes(), 20'000 + roomy.num_bytes() * 3 / 2}) {
    MemoryBudget budget("test", limit);
    KeyIndex index = ValueOf(KeyIndex::Make({arrow::int64()}));
    MemoryReservation memory(&budget);
    Ids ids(20'000);
    gnomon::test::RequireOk(index.Insert({keys}, ids, &memory));
    CHECK(ids == expected);
    CHECK(memory.bytes() == index.num_bytes());
  }
  MemoryBudget small("test", roomy.num_bytes() / 2);
  KeyIndex index = ValueOf(KeyIndex::Make({arrow::int64()}));
  MemoryReservation memory(&small);
  Ids ids(20'000);
  const Status refused = index.Insert({keys}, ids, &memory);
  REQUIRE_FALSE(refused.ok());
  CHECK(KindOf(refused) == ErrorKind::kExhausted);
}

TEST_CASE("integers of any width and sign are compared by value") {
  const auto narrow = ArrayOf(arrow::int8(), "[-1, 1, 127]");
  CHECK(FindIn({ArrayOf(arrow::uint16(), "[127, 1, 65535]")}, {narrow}) ==
        Ids{KeyIndex::kAbsent, 1, 0});
  CHECK(FindIn({ArrayOf(arrow::int64(), "[-1]")}, {narrow}) ==
        Ids{0, KeyIndex::kAbsent, KeyIndex::kAbsent});
}

TEST_CASE("a huge unsigned key is not a negative one") {
  const auto huge =
      ArrayOf(arrow::uint64(), "[18446744073709551615, 9223372036854775807, 18446744073709551615]");
  const auto negative = ArrayOf(arrow::int64(), "[-1, 9223372036854775807, -1]");
  CHECK(FindIn({huge}, {negative}) == Ids{KeyIndex::kAbsent, 1, KeyIndex::kAbsent});
  CHECK(FindIn({negative}, {huge}) == Ids{KeyIndex::kAbsent, 1, KeyIndex::kAbsent});
  CHECK(FindIn({huge, negative}, {negative, huge}) == Ids{KeyIndex::kAbsent, 1, KeyIndex::kAbsent});
  CHECK(FindIn({huge, negative, huge}, {negative, negative, negative}) ==
        Ids{KeyIndex::kAbsent, 1, KeyIndex::kAbsent});
}

TEST_CASE("strings, large strings, views and dictionaries of them are one") {
  const auto text = ArrayOf(arrow::utf8(), R"(["a", "", null, "long enough for the heap"])");
  const Ids expected = {0, 1, KeyIndex::kNull, 2};
  for (const auto& type : {arrow::large_utf8(), arrow::binary(), arrow::utf8_view()}) {
    CHECK(FindIn({text}, {ArrayOf(type, R"(["a", "", null, "long enough for the heap"])")}) ==
          expected);
  }
  const auto encoded = ValueOf(arrow::json::DictArrayFromJSONString(
      arrow::dictionary(arrow::uint8(), arrow::utf8()), "[1, 0, 2, 3]",
      R"(["", "a", null, "long enough for the heap"])"));
  CHECK(FindIn({text}, {encoded}) == expected);
  CHECK(FindIn({encoded}, {text}) == expected);
}

TEST_CASE("keys of an extension type are compared as what they are stored as") {
  const auto stored =
      ArrayOf(arrow::fixed_size_binary(16), R"(["0123456789abcdef", null, "fedcba9876543210"])");
  const auto ids = arrow::ExtensionType::WrapArray(arrow::extension::uuid(), stored);
  const Ids expected = {0, KeyIndex::kNull, 1};
  CHECK(FindIn({ids}, {ids}) == expected);
  CHECK(FindIn({ids}, {stored}) == expected);
  CHECK(FindIn({stored, stored}, {ids, ids}) == expected);
}

TEST_CASE("dictionaries of integers are compared by value") {
  const auto encoded = ValueOf(arrow::json::DictArrayFromJSONString(
      arrow::dictionary(arrow::int8(), arrow::int64()), "[1, null, 0]", "[7, 8]"));
  CHECK(FindIn({encoded}, {ArrayOf(arrow::int32(), "[7, 8, 9]")}) == Ids{1, 0, KeyIndex::kAbsent});
}

TEST_CASE("timestamps are compared as instants, whatever the unit and the zone") {
  const auto nanos =
      ArrayOf(arrow::timestamp(arrow::TimeUnit::NANO), "[-1000000000, 1, 86400000000000, 1000]");
  const auto seconds =
      ArrayOf(arrow::timestamp(arrow::TimeUnit::SECOND, "Asia/Tokyo"), "[-1, 0, 86400]");
  CHECK(FindIn({nanos}, {seconds}) == Ids{0, KeyIndex::kAbsent, 2});
  CHECK(FindIn({nanos}, {ArrayOf(arrow::date32(), "[1, -1]")}) == Ids{2, KeyIndex::kAbsent});
  CHECK(FindIn({seconds}, {nanos}) == Ids{0, KeyIndex::kAbsent, 2, KeyIndex::kAbsent});
  const auto far = ArrayOf(arrow::timestamp(arrow::TimeUnit::SECOND),
                           "[9223372036854775807, -9223372036854775808]");
  CHECK(FindIn({far}, {far}) == Ids{0, 1});
}

TEST_CASE("columns of text are not run together") {
  const auto left = ArrayOf(arrow::utf8(), R"(["a", "ab"])");
  const auto right = ArrayOf(arrow::utf8(), R"(["bc", "c"])");
  CHECK(FindIn({left, right}, {left, right}) == Ids{0, 1});
}

TEST_CASE("a null in any column has no id") {
  const auto keys = ArrayOf(arrow::int64(), "[1, null, 1, null]");
  const auto names = ArrayOf(arrow::utf8(), R"(["a", "a", null, null])");
  KeyIndex index = ValueOf(KeyIndex::Make({arrow::int64(), arrow::utf8()}));
  CHECK(Insert(&index, {keys, names}) == Ids{0, KeyIndex::kNull, KeyIndex::kNull, KeyIndex::kNull});
  CHECK(index.size() == 1);
}

TEST_CASE("a column of nothing but nulls matches nothing") {
  const auto nulls = ArrayOf(arrow::null(), "[null, null]");
  const auto keys = ArrayOf(arrow::int64(), "[1, null]");
  CHECK(FindIn({keys}, {nulls}) == Ids{KeyIndex::kNull, KeyIndex::kNull});
  CHECK(FindIn({nulls}, {keys}) == Ids{KeyIndex::kAbsent, KeyIndex::kNull});
  CHECK(FindIn({ArrayOf(arrow::utf8(), R"(["a", "b"])")}, {nulls}) ==
        Ids{KeyIndex::kNull, KeyIndex::kNull});
}

TEST_CASE("without key columns every row has the same key") {
  KeyIndex index = ValueOf(KeyIndex::Make({}));
  Ids ids(3, 7);
  CHECK_OK(index.Find({}, ids));
  CHECK(ids == Ids(3, KeyIndex::kAbsent));
  CHECK_OK(index.Insert({}, ids));
  CHECK(ids == Ids(3, 0));
  CHECK(index.size() == 1);
}

TEST_CASE("types that cannot be keys or be compared are refused") {
  CHECK_ERROR(KeyIndex::Make({arrow::float64()}), ErrorKind::kUser, "double");
  CHECK_ERROR(KeyIndex::Make({arrow::list(arrow::int8())}), ErrorKind::kUser, "list");
  KeyIndex index = ValueOf(KeyIndex::Make({arrow::int64()}));
  Ids ids(1);
  CHECK_ERROR(index.Insert({ArrayOf(arrow::utf8(), R"(["1"])")}, ids), ErrorKind::kUser,
              "string with int64");
  CHECK_ERROR(index.Find({ArrayOf(arrow::boolean(), "[true]")}, ids), ErrorKind::kUser,
              "bool with int64");
}

}  // namespace gnomon::table
