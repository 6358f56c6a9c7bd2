#include "base/text.h"

#include <limits>

#include <doctest/doctest.h>

namespace gnomon {

TEST_CASE("concat joins text, numbers and booleans") {
  const char* pointer = "pointer";
  CHECK(Concat("a", std::string("b"), std::string_view("c"), 'd') == "abcd");
  CHECK(Concat(pointer, ' ', true, ' ', false) == "pointer true false");
  CHECK(Concat(-1, ' ', std::numeric_limits<uint64_t>::max()) == "-1 18446744073709551615");
  CHECK(Concat() == "");
}

TEST_CASE("a double is written in the shortest form that reads back") {
  CHECK(Concat(0.1) == "0.1");
  CHECK(Concat(1.0, ' ', 1e300, ' ', -2.5F) == "1 1e+300 -2.5");
  CHECK(Concat(std::numeric_limits<double>::denorm_min()) == "5e-324");
}

TEST_CASE("split keeps empty parts and join undoes it") {
  CHECK(Split("a,,b", ',') == std::vector<std::string>{"a", "", "b"});
  CHECK(Split("", ',') == std::vector<std::string>{""});
  CHECK(Split(",", ',') == std::vector<std::string>{"", ""});
  CHECK(Join(Split("a,,b,", ','), ",") == "a,,b,");
  CHECK(Join({}, ",") == "");
}

TEST_CASE("trim removes white space at both ends only") {
  CHECK(Trim(" \t a b \r\n") == "a b");
  CHECK(Trim(" \n ") == "");
  CHECK(Trim("") == "");
}

TEST_CASE("lower-casing leaves bytes that are not ASCII alone") {
  CHECK(ToLower("AbZ_9\xc3\x84") == "abz_9\xc3\x84");
}

TEST_CASE("the nearest name is found by edit distance") {
  const std::vector<std::string> keys = {"name", "entities", "ttl", "schema", "source", "tags"};
  CHECK(NearestName("entites", keys) == "entities");
  CHECK(NearestName("shcema", keys) == "schema");
  CHECK(NearestName("TTL", keys) == "ttl");
  CHECK(NearestName("tll", keys) == "ttl");
  CHECK(NearestName("batch_source", keys) == "");
  CHECK(NearestName("zz", keys) == "");
  CHECK(NearestName("", keys) == "");
  CHECK(NearestName("name", {}) == "");
}

TEST_CASE("swapped neighbours count as one edit") {
  const std::vector<std::string> keys = {"abdc", "abxx"};
  CHECK(NearestName("abcd", keys) == "abdc");
}

TEST_CASE("of two names equally near the first is taken") {
  const std::vector<std::string> keys = {"rows", "rots"};
  CHECK(NearestName("ross", keys) == "rows");
}

TEST_CASE("a name longer than any typing error has no nearest name") {
  const std::vector<std::string> keys = {std::string(300, 'a')};
  CHECK(NearestName(std::string(299, 'a'), keys) == "");
}

TEST_CASE("the hint is empty when nothing is near") {
  const std::vector<std::string> keys = {"ttl"};
  CHECK(DidYouMean("tll", keys) == "did you mean 'ttl'?");
  CHECK(DidYouMean("something", keys) == "");
}

}  // namespace gnomon
