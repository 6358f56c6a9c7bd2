#include "plugin/library.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <arrow/array.h>
#include <arrow/json/from_string.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "base/ids.h"
#include "base/text.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::plugin {
namespace {

using test::ValueOf;
using Array = std::shared_ptr<arrow::Array>;

std::shared_ptr<const Library> Shop() { return ValueOf(Library::Load(SHOP_PLUGIN)); }

const Function& FunctionOf(const Library& library, const std::string& name) {
  const auto found = std::ranges::find(library.functions(), name, &Function::name);
  REQUIRE(found != library.functions().end());
  return *found;
}

const Aggregate& AggregateOf(const Library& library, const std::string& name) {
  const auto found = std::ranges::find(library.aggregates(), name, &Aggregate::name);
  REQUIRE(found != library.aggregates().end());
  return *found;
}

Array Doubles(const std::string& json) {
  return ValueOf(arrow::json::ArrayFromJSONString(arrow::float64(), json));
}
Array Texts(const std::string& json) {
  return ValueOf(arrow::json::ArrayFromJSONString(arrow::utf8(), json));
}

Result<std::shared_ptr<const Library>> LoadFlawed(const std::string& flaw) {
  return Library::Load(Concat(FLAWED_PLUGINS, "/flawed_", flaw, ".so"));
}

TEST_CASE("a library tells its name, its sha256 and what it offers") {
  const auto shop = Shop();
  CHECK(shop->name() == "shop");
  CHECK(shop->version() == "1.0");
  CHECK(shop->id() == Sha256Hex(ValueOf(ReadFile(SHOP_PLUGIN))));
  CHECK(shop->functions().size() == 3);
  CHECK(FunctionOf(*shop, "distance_km").Signature() ==
        "distance_km(float64, float64, float64, float64) -> float64");
  CHECK_FALSE(FunctionOf(*shop, "distance_km").sees_nulls());
  CHECK(FunctionOf(*shop, "mail_domain").sees_nulls());
  CHECK(AggregateOf(*shop, "page_path").Signature() == "page_path(string) -> string");
}

TEST_CASE("a function takes slices and gives one value per row") {
  const auto shop = Shop();
  const Array x = Doubles("[0, 1, 2, null, 4, 5]")->Slice(1, 4);
  const Array mean = Doubles("[9, 1, 1, 1, 1]")->Slice(1);
  const Array spread = Doubles("[2, 2, 2, 0]");
  const std::vector<Array> arguments = {x, mean, spread};
  const Array result = ValueOf(FunctionOf(*shop, "zscore").Call(arguments, 4));
  CHECK(result->Equals(*Doubles("[0, 0.5, null, null]")));
}

TEST_CASE("a function of optionals sees nulls and can give them") {
  const auto shop = Shop();
  const std::vector<Array> mails = {Texts(R"(["a@b.org", null, "nobody", "@"])")};
  const Array result = ValueOf(FunctionOf(*shop, "mail_domain").Call(mails, 4));
  CHECK(result->Equals(*Texts(R"(["b.org", "unknown", null, ""])")));
}

TEST_CASE("an exception becomes an error of its kind with the row") {
  const auto shop = Shop();
  const Array good = Doubles("[0, 0]");
  const std::vector<Array> arguments = {Doubles("[10, 91]"), good, good, good};
  const Status status = test::ErrorOf(FunctionOf(*shop, "distance_km").Call(arguments, 2));
  CHECK(KindOf(status) == ErrorKind::kUser);
  CHECK(LocationOf(status).row == 1);
  CHECK(status.message() == "a latitude is between -90 and 90");
}

TEST_CASE("a result outlives the last handle of its library") {
  Array result;
  {
    const auto shop = Shop();
    const std::vector<Array> mails = {Texts(R"(["a@b.org"])")};
    result = ValueOf(FunctionOf(*shop, "mail_domain").Call(mails, 1));
  }
  CHECK(result->Equals(*Texts(R"(["b.org"])")));
}

TEST_CASE("states accumulate, merge and finish more than once") {
  const auto shop = Shop();
  const Aggregate& path = AggregateOf(*shop, "page_path");
  const auto input = ValueOf(
      AggregateInput::Make(Texts(R"(["x", "home", "home", "cart", "cart", "pay"])")->Slice(1)));
  const auto first = ValueOf(Aggregate::State::Make(path));
  const auto second = ValueOf(Aggregate::State::Make(path));
  CHECK_OK(first->Accumulate(input, 0, 3));
  CHECK(ValueOf(first->Finish()).text == "home>cart");
  CHECK_OK(second->Accumulate(input, 3, 5));
  CHECK_OK(first->Merge(*second));
  CHECK(ValueOf(first->Finish()).text == "home>cart>pay");
  CHECK_OK(first->Reset());
  CHECK(ValueOf(first->Finish()).text.empty());

  const auto range = ValueOf(Aggregate::State::Make(AggregateOf(*shop, "value_range")));
  CHECK_FALSE(ValueOf(range->Finish()).is_valid);
  CHECK_OK(range->Accumulate(ValueOf(AggregateInput::Make(Doubles("[3, -1, 2]"))), 0, 3));
  CHECK(ValueOf(range->Finish()).real == 4);
}

TEST_CASE("the guide shows the example as it is") {
  const std::string guide = ValueOf(ReadFile("docs/guide/plugins.md"));
  const std::string code =
      ValueOf(ReadFile("examples/plugin/shop.cc")) + ValueOf(ReadFile("examples/plugin/plan.cc"));
  const std::string yaml = ValueOf(ReadFile("examples/plugin/feature_store.yaml")) +
                           ValueOf(ReadFile("examples/plugin/features.yaml"));
  size_t num_blocks = 0;
  for (const auto& [language, source] :
       {std::pair("```cpp\n", code), std::pair("```yaml\n", yaml)}) {
    const size_t length = std::string(language).size();
    for (size_t at = guide.find(language); at != std::string::npos;
         at = guide.find(language, at + length)) {
      const size_t begin = at + length;
      const std::string block = guide.substr(begin, guide.find("```", begin) - begin);
      CAPTURE(block);
      CHECK(source.find(block) != std::string::npos);
      ++num_blocks;
    }
  }
  CHECK(num_blocks == 11);
}

TEST_CASE("what is no plug-in library is refused by name") {
  const auto folder = test::MakeTemporaryFolder();
  CHECK_ERROR(Library::Load(folder.path() + "/none.so"), ErrorKind::kNotFound, "none.so");
  CHECK_ERROR(Library::Load(folder.path()), ErrorKind::kUser, "not a folder");
  const std::string text = folder.path() + "/text.so";
  test::RequireOk(WriteFileAtomic(text, "int main() {}"));
  CHECK_ERROR(Library::Load(text), ErrorKind::kUser, "text.so");
  CHECK_ERROR(LoadFlawed("no_entry"), ErrorKind::kUser, "does not export gnomon_plugin_v1");
}

TEST_CASE("a library for a newer interface says so") {
  CHECK_ERROR(LoadFlawed("newer_major"), ErrorKind::kUnsupported,
              "version 2 of the plug-in interface");
  CHECK_ERROR(LoadFlawed("newer_minor"), ErrorKind::kUnsupported, "needs version 1.1");
}

TEST_CASE("an error at registration keeps its kind") {
  CHECK_ERROR(LoadFlawed("throws_at_load"), ErrorKind::kUnavailable, "no licence today");
}

TEST_CASE("names and types that are not allowed are refused") {
  CHECK_ERROR(LoadFlawed("duplicate_overload"), ErrorKind::kUser, "'twice': it stands twice");
  CHECK_ERROR(LoadFlawed("duplicate_aggregate"), ErrorKind::kUser, "'total': it stands twice");
  CHECK_ERROR(LoadFlawed("bad_name"), ErrorKind::kUser, "'Twice it'");
  CHECK_ERROR(LoadFlawed("bad_type"), ErrorKind::kUser, "not tdD");
}

TEST_CASE("a result of another length is the library's bug") {
  const auto library = ValueOf(LoadFlawed("lying_function"));
  const std::vector<Array> arguments = {Doubles("[1, 2]")};
  CHECK_ERROR(FunctionOf(*library, "lie").Call(arguments, 2), ErrorKind::kInternal,
              "3 values for 2 rows");
}

TEST_CASE("two libraries with one name are a conflict, one library twice is not") {
  const auto folder = test::MakeTemporaryFolder();
  const std::string copy = folder.path() + "/copy.so";
  std::filesystem::copy_file(SHOP_PLUGIN, copy);
  const std::vector<std::string> twice = {SHOP_PLUGIN, copy};
  CHECK(ValueOf(LoadLibraries(twice)).size() == 1);
  std::ofstream(copy, std::ios::app) << "another build";
  const std::string changed = folder.path() + "/changed.so";
  std::filesystem::copy_file(copy, changed);
  CHECK_ERROR(LoadLibraries(std::vector<std::string>{SHOP_PLUGIN, changed}), ErrorKind::kConflict,
              "changed.so");
}

}  // namespace
}  // namespace gnomon::plugin
