#include <cstdint>
#include <cstring>
#include <random>
#include <string>

#include <doctest/doctest.h>

#include "model/safetensors_internal.h"

namespace gnomon::model {
namespace {

// A file with the given header over `data_bytes` zero bytes.
std::string File(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes + header + std::string(data_bytes, '\0');
}

ErrorKind KindOfFile(const std::string& header, size_t data_bytes) {
  const auto tensors = ParseSafetensors(File(header, data_bytes));
  REQUIRE_FALSE(tensors.ok());
  return KindOf(tensors.status());
}

std::map<std::string, Tensor> Example() {
  return {{"a", {.shape = {2, 3}, .values = {1, 2, 3, 4, 5, 6}}},
          {"b", {.shape = {}, .values = {-0.5F}}},
          {"c", {.shape = {0, 4}, .values = {}}}};
}

TEST_CASE("tensors come back as they were written") {
  const auto read = ParseSafetensors(FormatSafetensors(Example())).ValueOrDie();
  REQUIRE(read.size() == 3);
  for (const auto& [name, tensor] : Example()) {
    CHECK(read.at(name).shape == tensor.shape);
    CHECK(read.at(name).values == tensor.values);
  }
  CHECK(ParseSafetensors(FormatSafetensors({})).ValueOrDie().empty());
}

TEST_CASE("the bytes are those of the safetensors format") {
  const std::string header = R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  const std::string bytes = FormatSafetensors({{"w", {.shape = {1}, .values = {1.0F}}}});
  CHECK(bytes == File(header + std::string(56 - header.size(), ' '), 0) +
                     std::string("\x00\x00\x80\x3f", 4));
  CHECK(ParseSafetensors(File(R"({"__metadata__":{"format":"pt"}})", 0)).ok());
}

TEST_CASE("headers that lie are data loss") {
  CHECK(ParseSafetensors("").status().message() == "safetensors: truncated");
  CHECK_FALSE(ParseSafetensors(std::string(8, '\xff')).ok());
  CHECK_FALSE(ParseSafetensors(std::string(9, '\xff')).ok());
  CHECK(KindOfFile("", 0) == ErrorKind::kDataLoss);
  CHECK(KindOfFile("{", 0) == ErrorKind::kDataLoss);
  CHECK(KindOfFile("[]", 0) == ErrorKind::kDataLoss);
  CHECK(KindOfFile("{}", 4) == ErrorKind::kDataLoss);
  CHECK(KindOfFile(R"({"w":7})", 0) == ErrorKind::kDataLoss);
  CHECK(KindOfFile(R"({"w":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}})", 2) ==
        ErrorKind::kUnsupported);
  const auto kind = [](const std::string& shape, const std::string& offsets, size_t data_bytes) {
    return KindOfFile(
        R"({"w":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}",
        data_bytes);
  };
  CHECK(kind("[1]", "[0,4]", 3) == ErrorKind::kDataLoss);
  CHECK(kind("[1]", "[0,8]", 8) == ErrorKind::kDataLoss);
  CHECK(kind("[1]", "[4,8]", 8) == ErrorKind::kDataLoss);
  CHECK(kind("[1]", "[4,0]", 8) == ErrorKind::kDataLoss);
  CHECK(kind("[1]", "[-4,0]", 8) == ErrorKind::kDataLoss);
  CHECK(kind("[1]", "[0]", 4) == ErrorKind::kDataLoss);
  CHECK(kind("[1]", "[0,4.0]", 4) == ErrorKind::kDataLoss);
  CHECK(kind("[-1]", "[0,4]", 4) == ErrorKind::kDataLoss);
  CHECK(kind("[-1,-1]", "[0,4]", 4) == ErrorKind::kDataLoss);
  CHECK(kind("[4611686018427387904,4]", "[0,0]", 0) == ErrorKind::kDataLoss);
  CHECK(kind("[4611686018427387905]", "[0,4]", 4) == ErrorKind::kDataLoss);
  CHECK(kind("[1]", "[0,18446744073709551615]", 4) == ErrorKind::kDataLoss);
  CHECK(KindOfFile(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                   R"("b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                   4) == ErrorKind::kDataLoss);
}

TEST_CASE("every truncation is data loss") {
  const std::string bytes = FormatSafetensors(Example());
  for (size_t size = 0; size < bytes.size(); ++size) {
    const auto tensors = ParseSafetensors(std::string_view(bytes).substr(0, size));
    REQUIRE_FALSE(tensors.ok());
    CHECK(KindOf(tensors.status()) == ErrorKind::kDataLoss);
  }
}

TEST_CASE("flipped bytes give an error or tensors whose shapes hold") {
  const std::string bytes = FormatSafetensors(Example());
  std::mt19937_64 random(11);
  for (int attempt = 0; attempt < 20'000; ++attempt) {
    std::string damaged = bytes;
    const auto flips = 1 + random() % 3;
    for (uint64_t i = 0; i < flips; ++i)
      damaged[random() % damaged.size()] = static_cast<char>(random());
    const auto tensors = ParseSafetensors(damaged);
    if (!tensors.ok()) continue;
    for (const auto& [name, tensor] : *tensors) {
      size_t count = 1;
      for (const int64_t extent : tensor.shape) count *= static_cast<size_t>(extent);
      CHECK(count == tensor.values.size());
    }
  }
}

}  // namespace
}  // namespace gnomon::model
