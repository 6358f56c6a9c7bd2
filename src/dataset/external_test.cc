// Rows of other systems as a source of plans.
#include <arrow/array.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/text.h"
#include "dataset/execution.h"
#include "dataset/sample_external_test.h"
#include "tests/support/status.h"

namespace gnomon::dataset::test {
namespace {

using gnomon::test::ErrorOf;
using gnomon::test::RequireOk;
using gnomon::test::ValueOf;

std::vector<int64_t> NumbersOf(const Plan& plan, int64_t batch_rows = 3) {
  const auto execution = ValueOf(Execution::Start({}, plan, {.batch_rows = batch_rows}));
  std::vector<int64_t> numbers;
  while (const auto batch = ValueOf(execution->Next())) {
    const auto& column = static_cast<const arrow::Int64Array&>(*batch->GetColumnByName("n"));
    for (int64_t i = 0; i < column.length(); ++i) numbers.push_back(column.Value(i));
  }
  return numbers;
}

TEST_CASE("the rows of an external node are those of its parts, part after part") {
  CHECK(NumbersOf(ExternalNumbers({"0 3", "10 0", "20 2"})) ==
        std::vector<int64_t>{0, 1, 2, 20, 21});
  CHECK(NumbersOf(ExternalNumbers({})).empty());
}

TEST_CASE("nodes above an external one are optimised like others") {
  const Plan filtered =
      ValueOf(MakeNode(FilterSpec{"twice > 2"}, {ExternalNumbers({"0 3", "20 2"})}));
  const Plan plan = ValueOf(MakeNode(ProjectSpec{{{"n", "n"}}}, {filtered}));
  CHECK(NumbersOf(plan) == std::vector<int64_t>{2, 20, 21});
}

TEST_CASE("an external node crosses as bytes and finds its source by name") {
  const Plan plan = ExternalNumbers({"0 3", "7 1"});
  const std::string bytes = ValueOf(SerializePlan(plan));
  PlanExtensions extensions;
  extensions.sources["numbers"] = std::make_shared<NumberSource>();
  const Plan back = ValueOf(ParsePlan(bytes, &extensions));
  CHECK(FormatPlan(back) == FormatPlan(plan));
  CHECK(back->schema()->Equals(*plan->schema()));
  CHECK(std::get<ExternalSpec>(back->spec()).bytes == 4000);
  CHECK(NumbersOf(back) == std::vector<int64_t>{0, 1, 2, 7});
  CHECK_ERROR(ParsePlan(bytes, nullptr), ErrorKind::kNotFound, "'numbers'");
}

TEST_CASE("errors of a source come when their rows' turn comes") {
  const Plan plan = ExternalNumbers({"0 2", "fail", "5 1"});
  const auto execution = ValueOf(Execution::Start({}, plan));
  CHECK(ValueOf(execution->Next())->num_rows() == 2);
  CHECK_ERROR(execution->Next(), ErrorKind::kUnavailable, "the numbers do not answer");
}

TEST_CASE("a source that gives other columns is found out") {
  ExternalSpec spec = std::get<ExternalSpec>(ExternalNumbers({"0 2"})->spec());
  spec.schema = arrow::schema({arrow::field("n", arrow::int32())});
  const auto execution = ValueOf(Execution::Start({}, ValueOf(MakeNode(spec))));
  CHECK_ERROR(execution->Next(), ErrorKind::kInternal, "gives other columns");
  spec.reader = nullptr;
  CHECK_ERROR(MakeNode(spec), ErrorKind::kUser, "numbers");
}

}  // namespace
}  // namespace gnomon::dataset::test
