#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <utility>

#include "base/text.h"
#include "model/json_internal.h"
#include "model/safetensors_internal.h"

namespace gnomon::model {

namespace {

static_assert(std::endian::native == std::endian::little,
              "values are copied as they lie in memory");

constexpr size_t kLengthBytes = sizeof(uint64_t);
constexpr uint64_t kMaxHeader = 100'000'000;  // as the reference implementation
constexpr const char* kMetadata = "__metadata__";

struct Extent {
  int64_t begin;
  int64_t end;
};

// The number of values, or kDataLoss when it is negative or does not fit.
Result<int64_t> CountOf(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(count, extent, &count)) {
      return Error(ErrorKind::kDataLoss, "a shape is impossible");
    }
  }
  return count;
}

Result<Tensor> ParseTensor(const Json& entry, std::string_view data, Extent* extent) {
  GNOMON_ASSIGN_OR_RETURN(const std::string dtype, TextOf(entry, "dtype"));
  if (dtype != "F32") return Error(ErrorKind::kUnsupported, "the dtype is not F32: ", dtype);
  Tensor tensor;
  GNOMON_ASSIGN_OR_RETURN(tensor.shape, IntegersOf(entry, "shape"));
  GNOMON_ASSIGN_OR_RETURN(const std::vector<int64_t> offsets, IntegersOf(entry, "data_offsets"));
  GNOMON_ASSIGN_OR_RETURN(const int64_t count, CountOf(tensor.shape));
  if (offsets.size() != 2) return Error(ErrorKind::kDataLoss, "data_offsets are not two numbers");
  *extent = {offsets[0], offsets[1]};
  if (extent->begin < 0 || extent->end < extent->begin ||
      std::cmp_greater(extent->end, data.size())) {
    return Error(ErrorKind::kDataLoss, "the offsets are not inside the file");
  }
  const auto bytes = static_cast<uint64_t>(extent->end - extent->begin);
  if (bytes % sizeof(float) != 0 || std::cmp_not_equal(bytes / sizeof(float), count)) {
    return Error(ErrorKind::kDataLoss, "the offsets do not fit the shape");
  }
  tensor.values.resize(static_cast<size_t>(count));
  if (bytes > 0) std::memcpy(tensor.values.data(), data.data() + extent->begin, bytes);
  return tensor;
}

}  // namespace

std::string FormatSafetensors(const std::map<std::string, Tensor>& tensors) {
  Json header = Json::object();
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    const size_t begin = data.size();
    data.append(reinterpret_cast<const char*>(tensor.values.data()),
                tensor.values.size() * sizeof(float));
    header[name] = {
        {"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + kLengthBytes - 1) / kLengthBytes * kLengthBytes, ' ');
  const uint64_t length = text.size();
  std::string bytes(kLengthBytes, '\0');
  std::memcpy(bytes.data(), &length, kLengthBytes);
  return bytes + text + data;
}

Result<std::map<std::string, Tensor>> ParseSafetensors(std::string_view bytes) {
  uint64_t length = 0;
  if (bytes.size() < kLengthBytes) return Error(ErrorKind::kDataLoss, "safetensors: truncated");
  std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length > kMaxHeader || length > bytes.size() - kLengthBytes) {
    return Error(ErrorKind::kDataLoss, "safetensors: the header is longer than the file");
  }
  const std::string_view text = bytes.substr(kLengthBytes, length);
  const std::string_view data = bytes.substr(kLengthBytes + length);
  if (!text.starts_with('{')) return Error(ErrorKind::kDataLoss, "safetensors: no JSON header");
  const Result<Json> header = ParseJson(text);
  if (!header.ok()) return WithContext(header.status(), "safetensors: header");

  std::map<std::string, Tensor> tensors;
  std::vector<Extent> extents;
  for (const auto& [name, entry] : header->items()) {
    if (name == kMetadata) continue;
    Extent extent{};
    Result<Tensor> tensor = ParseTensor(entry, data, &extent);
    if (!tensor.ok())
      return WithContext(tensor.status(), Concat("safetensors: tensor ", Quoted(name)));
    extents.push_back(extent);
    tensors.emplace(name, std::move(*tensor));
  }
  std::ranges::sort(extents, {},
                    [](const Extent& extent) { return std::pair(extent.begin, extent.end); });
  int64_t covered = 0;
  for (const Extent& extent : extents) {
    if (extent.begin != covered)
      return Error(ErrorKind::kDataLoss, "safetensors: tensors overlap or leave a gap");
    covered = extent.end;
  }
  if (std::cmp_not_equal(covered, data.size())) {
    return Error(ErrorKind::kDataLoss, "safetensors: ", data.size(), " bytes of data where ",
                 covered, " are named");
  }
  return tensors;
}

}  // namespace gnomon::model
