// Rows that go to another system.
#include <doctest/doctest.h>

#include "dataset/dataset.h"
#include "dataset/sample_sink_test.h"

namespace gnomon::dataset::test {
namespace {

using gnomon::test::ValueOf;

Plan NotedNumbers(const std::shared_ptr<NotedRows>& notes, const std::string& parameters) {
  const Dataset rows =
      Dataset::Range(0, 10, 1, "n")
          .Project({{"k", "n % 3"}, {"text", "concat('row ', cast(n as string))"}});
  return ValueOf(MakeNode(ExternalWriteSpec{.sink = "notes",
                                            .parameters = parameters,
                                            .keys = {"k"},
                                            .description = "notes of a test",
                                            .writer = notes,
                                            .commits = notes},
                          {ValueOf(rows.plan())}));
}

TEST_CASE("an external write gets all rows in input order and gives its token, committed") {
  const auto notes = std::make_shared<NotedRows>();
  const auto execution = ValueOf(Execution::Start({}, NotedNumbers(notes, "all")));
  CHECK(TokensOf(*execution) == std::vector<std::string>{"all:10"});
  CHECK(notes->committed() == std::vector<std::string>{"all:10"});
  CHECK(notes->notes().at(1) == std::vector<std::string>{"row 1", "row 4", "row 7"});
  CHECK(execution->Explain().find("external_write: notes, notes of a test, by k") !=
        std::string::npos);
}

TEST_CASE("an external write crosses as bytes and finds its sink by name") {
  const auto here = std::make_shared<NotedRows>();
  const Plan plan = NotedNumbers(here, "bytes");
  const std::string bytes = ValueOf(SerializePlan(plan));
  PlanExtensions extensions;
  const auto there = std::make_shared<NotedRows>();
  extensions.sinks["notes"] = there;
  const Plan back = ValueOf(ParsePlan(bytes, &extensions));
  CHECK(FormatPlan(back) == FormatPlan(plan));
  const auto execution = ValueOf(Execution::Start({}, back));
  CHECK(TokensOf(*execution) == std::vector<std::string>{"bytes:10"});
  CHECK(there->notes().size() == 3);
  CHECK(there->committed().empty());
  CHECK(here->notes().empty());
  CHECK_ERROR(ParsePlan(bytes, nullptr), ErrorKind::kNotFound, "'notes'");
}

TEST_CASE("what the sink refuses is the error of the plan, and nothing is committed") {
  const auto notes = std::make_shared<NotedRows>();
  const auto execution = ValueOf(Execution::Start({}, NotedNumbers(notes, "fail")));
  CHECK_ERROR(execution->Next(), ErrorKind::kUser, "the notes are full");
  CHECK(notes->committed().empty());
}

}  // namespace
}  // namespace gnomon::dataset::test
