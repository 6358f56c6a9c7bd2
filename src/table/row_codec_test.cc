#include "table/row_codec.h"

#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "table/column.h"
#include "table/random_column.h"
#include "tests/support/table.h"

namespace gnomon::table {

using gnomon::test::TableOf;
using test::Random;
using test::RandomArray;
using test::ValueOf;

namespace {

std::shared_ptr<arrow::Schema> SchemaOf(
    const std::vector<std::shared_ptr<arrow::DataType>>& types) {
  arrow::FieldVector fields;
  for (const auto& type : types)
    fields.push_back(arrow::field("f" + std::to_string(fields.size()), type));
  return arrow::schema(std::move(fields));
}

std::vector<std::shared_ptr<arrow::DataType>> AllTypes() {
  std::vector<std::shared_ptr<arrow::DataType>> types = {
      arrow::boolean(),
      arrow::int8(),
      arrow::int16(),
      arrow::int32(),
      arrow::int64(),
      arrow::uint8(),
      arrow::uint16(),
      arrow::uint32(),
      arrow::uint64(),
      arrow::float32(),
      arrow::float64(),
      arrow::utf8(),
      arrow::large_utf8(),
      arrow::binary(),
      arrow::large_binary(),
      arrow::timestamp(arrow::TimeUnit::MICRO, "UTC"),
      arrow::timestamp(arrow::TimeUnit::SECOND),
      arrow::date32(),
      arrow::date64(),
      arrow::decimal128(9, 2)};
  const size_t num_plain = types.size();
  for (size_t i = 0; i < num_plain; ++i) types.push_back(arrow::list(types[i]));
  types.push_back(arrow::large_list(arrow::utf8()));
  types.push_back(arrow::large_list(arrow::float64()));
  return types;
}

RowColumns ColumnsOf(const arrow::Schema& schema, const std::vector<int>& fields,
                     int64_t num_rows) {
  std::vector<std::shared_ptr<arrow::DataType>> types;
  for (const int field : fields) types.push_back(schema.field(field)->type());
  RowColumns columns = ValueOf(RowColumns::Make(types));
  gnomon::test::RequireOk(columns.Start(num_rows));
  return columns;
}

/// The fixed sample of docs/formats/packed_row.md.
std::shared_ptr<arrow::Table> SampleTable() {
  return TableOf(
      {{"driver", arrow::int64()},
       {"rating", arrow::float64()},
       {"active", arrow::boolean()},
       {"trips", arrow::int32()},
       {"city", arrow::utf8()},
       {"tags", arrow::list(arrow::utf8())},
       {"seen", arrow::timestamp(arrow::TimeUnit::MICRO, "UTC")},
       {"last", arrow::list(arrow::int16())}},
      R"([[1001, 4.5, true, null, "Oslo", ["a", null], 1704457800000000, [7, -1, null]]])");
}

std::string HexDump(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string dump;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const auto byte = static_cast<unsigned char>(bytes[i]);
    dump.append(1, kDigits[byte >> 4])
        .append(1, kDigits[byte & 15])
        .append(1, i % 16 == 15 ? '\n' : ' ');
  }
  if (dump.ends_with(' ')) dump.back() = '\n';
  return dump;
}

std::string EncodeRow(const RowCodec& codec, const arrow::RecordBatch& batch, int64_t row) {
  std::string bytes;
  gnomon::test::RequireOk(codec.Encode(batch, row, &bytes));
  return bytes;
}

}  // namespace

TEST_CASE("random rows of every type come back, whichever fields are asked for") {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    const auto schema = SchemaOf(AllTypes());
    arrow::ArrayVector columns;
    for (const auto& field : schema->fields())
      columns.push_back(RandomArray(field->type(), 40, &random));
    const auto batch = arrow::RecordBatch::Make(schema, 40, columns)->Slice(5, 30);
    const RowCodec codec = ValueOf(RowCodec::Make(schema));
    std::vector<int> fields;
    for (int i = 0; i < schema->num_fields(); ++i) {
      if (seed == 0 || random.Chance(0.4)) fields.push_back(i);
    }
    if (seed > 3) std::ranges::reverse(fields);
    RowColumns decoded = ColumnsOf(*schema, fields, batch->num_rows());
    // The second time in the same columns.
    for (int time = 0; time < 2; ++time) {
      CHECK_OK(decoded.Start(batch->num_rows()));
      for (int64_t row = 0; row < batch->num_rows(); ++row) {
        CHECK_OK(codec.Decode(EncodeRow(codec, *batch, row), fields, &decoded));
      }
      const auto arrays = ValueOf(decoded.Finish());
      for (size_t i = 0; i < fields.size(); ++i) {
        CHECK_OK(arrays[i]->ValidateFull());
        CHECK_MESSAGE(arrays[i]->Equals(*batch->column(fields[i])),
                      schema->field(fields[i])->ToString());
      }
    }
  }
}

TEST_CASE("rows of nulls and fields that a row does not have are null") {
  const auto batch = ValueOf(SingleBatch(*SampleTable()));
  const RowCodec codec = ValueOf(RowCodec::Make(batch->schema()));
  const std::vector<int> types = {0, 2, 4, 5};
  RowColumns decoded = ColumnsOf(*batch->schema(), types, 3);
  const std::string row = EncodeRow(codec, *batch, 0);
  CHECK_OK(codec.Decode(row, std::vector<int>{0, -1, 4, -1}, &decoded));
  CHECK_OK(decoded.AppendNullRow());
  CHECK_OK(codec.Decode(row, std::vector<int>{-1, 2, -1, 5}, &decoded));
  const auto arrays = ValueOf(decoded.Finish());
  const std::vector<std::vector<bool>> there = {
      {true, false, false}, {false, false, true}, {true, false, false}, {false, false, true}};
  for (size_t i = 0; i < types.size(); ++i) {
    CAPTURE(i);
    CHECK_OK(arrays[i]->ValidateFull());
    for (int64_t at = 0; at < 3; ++at) {
      CHECK(arrays[i]->IsValid(at) == there[i][static_cast<size_t>(at)]);
      if (arrays[i]->IsValid(at))
        CHECK(arrays[i]->Slice(at, 1)->Equals(*batch->column(types[i])->Slice(0, 1)));
    }
  }
}

TEST_CASE("the bytes of a row do not change from version to version") {
  const auto batch = ValueOf(SingleBatch(*SampleTable()));
  const RowCodec codec = ValueOf(RowCodec::Make(batch->schema()));
  const std::string dump = HexDump(EncodeRow(codec, *batch, 0));
  CHECK(dump == ValueOf(ReadFile("tests/golden/packed_row.hex")));
  CHECK_MESSAGE(ValueOf(ReadFile("docs/formats/packed_row.md")).find(dump) != std::string::npos,
                "docs/formats/packed_row.md does not quote the golden bytes");
}

TEST_CASE("every truncation of a row is data loss") {
  const auto batch = ValueOf(SingleBatch(*SampleTable()));
  const RowCodec codec = ValueOf(RowCodec::Make(batch->schema()));
  const std::string bytes = EncodeRow(codec, *batch, 0);
  const std::vector<int> fields = {0, 1, 2, 3, 4, 5, 6, 7};
  for (size_t length = 0; length < bytes.size(); ++length) {
    CAPTURE(length);
    RowColumns columns = ColumnsOf(*batch->schema(), fields, 1);
    // A copy, so that a sanitizer sees a read past the end.
    const std::string part(bytes, 0, length);
    CHECK_ERROR(codec.Decode(part, fields, &columns), ErrorKind::kDataLoss, "truncated");
  }
}

TEST_CASE("random bytes never crash the decoder") {
  const auto schema = SchemaOf(AllTypes());
  const RowCodec codec = ValueOf(RowCodec::Make(schema));
  std::vector<int> fields;
  for (int i = 0; i < schema->num_fields(); ++i) fields.push_back(i);
  for (uint64_t seed = 0; seed < 300; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    std::string bytes(static_cast<size_t>(random.Int(1, 600)), '\0');
    for (char& byte : bytes) byte = static_cast<char>(random.Chance(0.6) ? 0 : random.Int(0, 255));
    bytes[0] = 1;
    RowColumns columns = ColumnsOf(*schema, fields, 1);
    const Status status = codec.Decode(bytes, fields, &columns);
    CHECK((status.ok() || KindOf(status) == ErrorKind::kDataLoss));
  }
}

TEST_CASE("an unknown version is data loss and named") {
  const auto batch = ValueOf(SingleBatch(*SampleTable()));
  const RowCodec codec = ValueOf(RowCodec::Make(batch->schema()));
  std::string bytes = EncodeRow(codec, *batch, 0);
  bytes[0] = 2;
  RowColumns columns = ColumnsOf(*batch->schema(), {}, 1);
  CHECK_ERROR(codec.Decode(bytes, {}, &columns), ErrorKind::kDataLoss, "version: 2");
}

TEST_CASE("a type that a packed row cannot hold is refused with its column") {
  CHECK_ERROR(RowCodec::Make(SchemaOf({arrow::struct_({})})), ErrorKind::kUnsupported, "'f0'");
  CHECK_ERROR(RowCodec::Make(SchemaOf({arrow::list(arrow::list(arrow::int8()))})),
              ErrorKind::kUnsupported, "'f0'");
  CHECK_ERROR(RowCodec::Make(SchemaOf({arrow::dictionary(arrow::int8(), arrow::utf8())})),
              ErrorKind::kUnsupported, "dictionary");
}

TEST_CASE("a batch of another schema is refused and appends nothing") {
  const auto batch = ValueOf(SingleBatch(*SampleTable()));
  const RowCodec codec = ValueOf(RowCodec::Make(SchemaOf({arrow::int64()})));
  std::string bytes = "before";
  CHECK_ERROR(codec.Encode(*batch, 0, &bytes), ErrorKind::kInternal, "schema");
  CHECK(bytes == "before");
}

TEST_CASE("a schema without fields gives a row of one byte") {
  const RowCodec codec = ValueOf(RowCodec::Make(arrow::schema({})));
  const auto batch = arrow::RecordBatch::Make(arrow::schema({}), 1, arrow::ArrayVector{});
  CHECK(EncodeRow(codec, *batch, 0) == std::string(1, '\1'));
}

}  // namespace gnomon::table
