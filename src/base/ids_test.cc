#include "base/ids.h"

#include <array>
#include <bit>
#include <set>

#include <doctest/doctest.h>

namespace gnomon {

namespace {

bool IsLowerHex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

TEST_CASE("a run id has 32 hexadecimal digits and comes once") {
  std::set<RunId> ids;
  for (int i = 0; i < 1000; ++i) {
    const RunId id = RunId::Random();
    REQUIRE(id.value.size() == 32);
    REQUIRE(IsLowerHex(id.value));
    ids.insert(id);
  }
  CHECK(ids.size() == 1000);
}

TEST_CASE("a job id is a UUIDv7 that carries its time") {
  const JobId id = JobId::Make(1'645'557'742'000'000);  // the example of RFC 9562, appendix A.6
  CHECK(id.value.size() == 36);
  CHECK(id.value.starts_with("017f22e2-79b0-7"));
  CHECK(std::string_view("89ab").find(id.value[19]) != std::string_view::npos);
}

TEST_CASE("job ids sort by creation time, within a millisecond too") {
  for (int64_t micros = 1'704'456'000'000'000; micros < 1'704'456'000'005'000; ++micros) {
    REQUIRE(JobId::Make(micros) < JobId::Make(micros + 1));
  }
}

TEST_CASE("a random UUID is of version 4") {
  const std::string uuid = RandomUuid();
  CHECK(uuid.size() == 36);
  CHECK(uuid[14] == '4');
  CHECK(uuid[8] == '-');
  CHECK(uuid[23] == '-');
  CHECK(uuid != RandomUuid());
}

TEST_CASE("SHA-256 is that of the standard") {
  CHECK(Sha256Hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(Sha256Hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_CASE("a hash depends on every byte, on the length and on the seed") {
  for (const size_t size : {1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 96, 97, 200}) {
    CAPTURE(size);
    const std::string bytes(size, '\0');
    std::set<uint64_t> hashes = {HashBytes(bytes), HashBytes(bytes, 1), HashBytes(bytes + '\0')};
    for (size_t i = 0; i < size; ++i) {
      for (int bit = 0; bit < 8; ++bit) {
        std::string changed = bytes;
        changed[i] = static_cast<char>(1 << bit);
        hashes.insert(HashBytes(changed));
      }
    }
    CHECK(hashes.size() == 3 + 8 * size);
  }
  CHECK(HashBytes("") == HashBytes(""));
  CHECK(HashBytes("") != HashBytes("", 1));
}

TEST_CASE("one changed bit of an integer key changes about half of the hash") {
  int64_t num_changed = 0;
  int64_t num_bits = 0;
  for (uint64_t key = 0; key < 500; ++key) {
    const auto hash_of = [](uint64_t value) {
      const auto bytes = std::bit_cast<std::array<char, 8>>(value);
      return HashBytes(std::string_view(bytes.data(), bytes.size()));
    };
    for (int bit = 0; bit < 64; ++bit) {
      num_changed += std::popcount(hash_of(key) ^ hash_of(key ^ (uint64_t{1} << bit)));
      num_bits += 64;
    }
  }
  const double share = static_cast<double>(num_changed) / static_cast<double>(num_bits);
  CHECK(share > 0.49);
  CHECK(share < 0.51);
}

TEST_CASE("the low bits of hashes of counted names are spread evenly") {
  std::array<int, 64> counts{};
  for (int i = 0; i < 64'000; ++i) {
    ++counts[HashBytes("driver_" + std::to_string(i)) & 63];
  }
  for (const int count : counts) {
    CHECK(count > 800);
    CHECK(count < 1200);
  }
}

}  // namespace gnomon
