#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <tuple>
#include <utility>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/log.h"
#include "base/text.h"
#include "base/time.h"
#include "feature/online/feast_layout_internal.h"
#include "feature/online/protobuf_wire_internal.h"

namespace gnomon::feature::internal {
namespace {

constexpr int64_t kNanosPerMicro = 1000;

uint32_t LoadU32(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  std::memcpy(&value, bytes.data() + at, sizeof(value));
  return value;
}

Status OtherLayout(const OnlineTable& table, OnlineLayout there) {
  const bool feast = there == OnlineLayout::kFeast;
  return MakeError(
      ErrorKind::kConflict,
      Concat("view ", Quoted(table.view), " of project ", Quoted(table.project), " lies in layout ",
             NameOf(there), " in the online store, the configuration asks for ",
             feast ? "packed" : "feast"),
      {},
      Concat("take layout: ", NameOf(there), " (or no layout at all), ",
             feast ? "or give Gnomon a place of its own"
                   : "or run gnomon teardown, then apply and materialize again"));
}

}  // namespace

const char* NameOf(OnlineLayout layout) {
  return layout == OnlineLayout::kFeast ? "feast" : "packed";
}

Result<LayoutOptions> LayoutOptionsOf(const RepositoryConfig::OnlineStore& config) {
  LayoutOptions options;
  options.key_version = config.entity_key_version;
  if (config.layout == "packed") {
    options.asked = OnlineLayout::kPacked;
  } else if (config.layout == "feast") {
    options.asked = OnlineLayout::kFeast;
  } else if (!config.layout.empty()) {
    return MakeError(ErrorKind::kUser, Concat("unknown layout ", Quoted(config.layout)), {},
                     "layouts: packed, feast");
  }
  return options;
}

Result<std::optional<OnlineLayout>> LayoutToUse(const LayoutOptions& options,
                                                const OnlineTable& table, FoundTables found) {
  const bool window = table.features != nullptr;
  const bool feast = found.feast && (!window || found.packed);
  if (options.asked == OnlineLayout::kFeast) {
    if (feast) return OnlineLayout::kFeast;
    if (found.packed) return OtherLayout(table, OnlineLayout::kPacked);
    return std::nullopt;
  }
  if (options.asked == OnlineLayout::kPacked && found.feast && !found.packed)
    return OtherLayout(table, OnlineLayout::kFeast);
  if (found.packed && !(window && feast && !options.asked)) return OnlineLayout::kPacked;
  if (feast) return OnlineLayout::kFeast;
  return std::nullopt;
}

Result<OnlineLayout> LayoutToPrepare(const LayoutOptions& options, const OnlineTable& table,
                                     FoundTables found) {
  GNOMON_ASSIGN_OR_RETURN(const auto present, LayoutToUse(options, table, found));
  if (present.has_value()) return *present;
  if (options.asked.has_value()) return *options.asked;
  return found.feast ? OnlineLayout::kFeast : OnlineLayout::kPacked;
}

std::string FeastTableName(const OnlineTable& table) {
  return Concat(table.project, "_", table.view);
}

const std::shared_ptr<arrow::Schema>& FeastSchema(const OnlineTable& table) {
  return table.features != nullptr ? table.features->schema() : table.schema;
}

Status CheckFeastSchema(const OnlineTable& table) { return FeastEncoder::Make(table).status(); }

std::string FeastKey(std::string_view key, int version) {
  if (version >= 3 || key.empty()) return std::string(key);
  // Version 3 begins with the number of join keys and has the length of each name.
  std::string out;
  out.reserve(key.size());
  GNOMON_CHECK(key.size() >= 4, "entity key of ", key.size(), " bytes");
  const uint32_t num_keys = LoadU32(key, 0);
  size_t at = 4;
  for (uint32_t i = 0; i < num_keys; ++i) {
    GNOMON_CHECK(key.size() - at >= 8, "entity key of ", key.size(), " bytes");
    const size_t length = LoadU32(key, at + 4);
    GNOMON_CHECK(key.size() - at - 8 >= length, "entity key of ", key.size(), " bytes");
    out.append(key.substr(at, 4));
    out.append(key.substr(at + 8, length));
    at += 8 + length;
  }
  out.append(key.substr(at));
  return out;
}

int64_t FloorSeconds(int64_t micros) {
  return micros / kMicrosPerSecond - (micros % kMicrosPerSecond < 0 ? 1 : 0);
}

std::string TimestampBytes(int64_t micros) {
  const int64_t seconds = FloorSeconds(micros);
  const int64_t nanos = (micros - seconds * kMicrosPerSecond) * kNanosPerMicro;
  std::string out;
  if (seconds != 0) {
    AppendTag(1, Wire::kVarint, &out);
    AppendVarint(static_cast<uint64_t>(seconds), &out);
  }
  if (nanos != 0) {
    AppendTag(2, Wire::kVarint, &out);
    AppendVarint(static_cast<uint64_t>(nanos), &out);
  }
  return out;
}

std::optional<int64_t> ParseTimestampBytes(std::string_view bytes) {
  int64_t seconds = 0;
  int64_t nanos = 0;
  ProtobufReader reader(bytes);
  while (!reader.done()) {
    uint32_t number = 0;
    Wire wire{};
    uint64_t value = 0;
    if (!reader.Tag(&number, &wire) || wire != Wire::kVarint || number > 2 ||
        !reader.Varint(&value))
      return std::nullopt;
    (number == 1 ? seconds : nanos) = static_cast<int64_t>(value);
  }
  int64_t micros = 0;
  if (nanos < 0 || nanos >= 1'000'000'000 ||
      __builtin_mul_overflow(seconds, kMicrosPerSecond, &micros) ||
      __builtin_add_overflow(micros, nanos / kNanosPerMicro, &micros))
    return std::nullopt;
  return micros;
}

uint32_t Murmur3(std::string_view bytes) {
  constexpr uint32_t kFirst = 0xcc9e2d51;
  constexpr uint32_t kSecond = 0x1b873593;
  const auto mix = [](uint32_t block) { return std::rotl(block * kFirst, 15) * kSecond; };
  uint32_t hash = 0;
  size_t at = 0;
  for (; at + 4 <= bytes.size(); at += 4)
    hash = std::rotl(hash ^ mix(LoadU32(bytes, at)), 13) * 5 + 0xe6546b64;
  uint32_t tail = 0;
  for (size_t i = bytes.size(); i > at; --i)
    tail = tail << 8 | static_cast<unsigned char>(bytes[i - 1]);
  if (at < bytes.size()) hash ^= mix(tail);
  hash ^= static_cast<uint32_t>(bytes.size());
  hash = (hash ^ hash >> 16) * 0x85ebca6b;
  hash = (hash ^ hash >> 13) * 0xc2b2ae35;
  return hash ^ hash >> 16;
}

std::vector<size_t> NewestByKey(const OnlineRows& rows) {
  std::vector<size_t> order(rows.keys.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, [&](size_t left, size_t right) {
    if (const int keys = rows.keys[left].compare(rows.keys[right]); keys != 0) return keys < 0;
    return std::tuple(rows.event_times[left], rows.created_times[left], left) <
           std::tuple(rows.event_times[right], rows.created_times[right], right);
  });
  size_t kept = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    if (i + 1 < order.size() && rows.keys[order[i]] == rows.keys[order[i + 1]]) continue;
    order[kept++] = order[i];
  }
  order.resize(kept);
  return order;
}

std::string FeastFieldName(std::string_view view, std::string_view feature) {
  std::string name;
  AppendFixed(Murmur3(Concat(view, ":", feature)), &name);
  return name;
}

Result<std::shared_ptr<arrow::RecordBatch>> FeastBatch(const Context& context,
                                                       const OnlineTable& table,
                                                       const OnlineRows& rows) {
  if (table.features == nullptr) return rows.values;
  int64_t as_of = rows.as_of;
  if (as_of == kNewestEvent) {
    for (const int64_t time : rows.event_times) as_of = std::max(as_of, time);
  }
  return table.features->Evaluate(context, *rows.values, as_of);
}

Result<FeastEncoder> FeastEncoder::Make(const OnlineTable& table) {
  FeastEncoder encoder;
  encoder.view_ = table.view;
  for (const auto& field : FeastSchema(table)->fields()) {
    const auto type = FeastTypeOf(*field->type());
    if (!type.ok()) {
      return WithContext(type.status(), Concat("feature ", Quoted(field->name()), " of view ",
                                               Quoted(table.view)));
    }
    encoder.names_.push_back(field->name());
    encoder.types_.push_back(*type);
  }
  return encoder;
}

Status FeastEncoder::Append(const arrow::RecordBatch& batch, size_t feature, int64_t row,
                            std::string* out) const {
  Status status =
      AppendFeastValue(*batch.column(static_cast<int>(feature)), types_[feature], row, out);
  if (status.ok()) [[likely]]
    return status;
  return WithLocation(
      WithContext(status, Concat("feature ", Quoted(names_[feature]), " of view ", Quoted(view_))),
      {.file = {}, .line = 0, .column = 0, .row = row});
}

bool FeastEncoder::AppendText(const arrow::RecordBatch& batch, size_t feature, int64_t row,
                              std::string* out) const {
  return AppendFeastText(*batch.column(static_cast<int>(feature)), types_[feature], row, out);
}

std::optional<double> FeastEncoder::Number(const arrow::RecordBatch& batch, size_t feature,
                                           int64_t row) const {
  const arrow::Array& column = *batch.column(static_cast<int>(feature));
  if (types_[feature].list || column.IsNull(row)) return std::nullopt;
  switch (types_[feature].base) {
    case ValueType::kInt32:
      return static_cast<const arrow::Int32Array&>(column).Value(row);
    case ValueType::kInt64:
      return static_cast<double>(static_cast<const arrow::Int64Array&>(column).Value(row));
    case ValueType::kFloat:
      return static_cast<const arrow::FloatArray&>(column).Value(row);
    case ValueType::kDouble:
      return static_cast<const arrow::DoubleArray&>(column).Value(row);
    case ValueType::kBool:
      return static_cast<const arrow::BooleanArray&>(column).Value(row) ? 1.0 : 0.0;
    default:
      return std::nullopt;
  }
}

Result<FeastColumns> FeastColumns::Make(const OnlineTable& table, std::span<const int> fields) {
  FeastColumns columns;
  columns.view_ = table.view;
  std::vector<std::shared_ptr<arrow::DataType>> types;
  for (const int index : fields) {
    const auto& field = FeastSchema(table)->field(index);
    GNOMON_ASSIGN_OR_RETURN(const ValueType type, FeastTypeOf(*field->type()));
    columns.names_.push_back(field->name());
    columns.types_.push_back(type);
    types.push_back(field->type());
  }
  GNOMON_ASSIGN_OR_RETURN(columns.columns_, table::RowColumns::Make(types));
  columns.set_.resize(fields.size());
  columns.warned_.resize(fields.size());
  return columns;
}

int FeastColumns::PlaceOf(std::string_view feature) {
  for (size_t step = 0; step < names_.size(); ++step) {
    if (next_ >= names_.size()) next_ = 0;
    const size_t place = next_++;
    if (names_[place] == feature) return static_cast<int>(place);
  }
  return -1;
}

Status FeastColumns::Set(size_t place, std::string_view value) {
  if (set_[place]) {
    return Error(ErrorKind::kDataLoss, "feature ", Quoted(names_[place]), " of view ",
                 Quoted(view_), " is stored twice for one entity");
  }
  const auto state = ReadFeastValue(value, types_[place], place, &*columns_);
  if (!state.ok()) {
    return WithContext(state.status(),
                       Concat("feature ", Quoted(names_[place]), " of view ", Quoted(view_)));
  }
  if (*state == FeastValueState::kOtherType && !warned_[place]) [[unlikely]] {
    warned_[place] = true;
    LogWarning("feature",
               "stored values have another type than their feature, they are read as null",
               {{"view", view_}, {"feature", names_[place]}, {"type", types_[place].ToString()}});
  }
  set_[place] = true;
  return Status::OK();
}

Status FeastColumns::EndRow() {
  for (size_t place = 0; place < names_.size(); ++place) {
    if (!set_[place]) GNOMON_RETURN_NOT_OK(columns_->SetNull(place));
    set_[place] = false;
  }
  columns_->EndRow();
  return Status::OK();
}

Result<std::vector<std::shared_ptr<arrow::Array>>> FeastColumns::Finish() {
  return columns_->Finish();
}

}  // namespace gnomon::feature::internal
