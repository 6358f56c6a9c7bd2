#pragma once

#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "dataset/dataset.h"
#include "dataset/naive_table_test.h"
#include "dataset/random_source_test.h"
#include "dataset/random_test.h"
#include "dataset/sample_extension_test.h"

/// Parts of random plans, each with the rows that the naive interpreter gives it: sources, and
/// nodes that look at one row or one call at a time.
namespace gnomon::dataset::test {

using pit::AggregateFunction;

struct Case {
  Dataset dataset;
  NaiveTable expected;
  /// A plug-in refuses a row that the plan may ask for: it fails, or gives the rows without it.
  bool may_fail = false;
};

/// Everything that the plans call. Outlives them.
struct CaseWorld {
  CaseWorld() {
    extensions.sources["tables"] = tables;
    RequireOk(functions.Register("count_rows", CountRows()));
  }
  FunctionRegistry functions;
  PlanExtensions extensions = TestExtensions();
  std::shared_ptr<TableSource> tables = std::make_shared<TableSource>();
};

/// Columns k, name, x, n and the times t and made, in milliseconds.
inline NaiveTable RandomNaiveTable(Random& random) {
  const auto time = arrow::timestamp(arrow::TimeUnit::MILLI, "UTC");
  NaiveTable table{{"k", "name", "x", "n", "t", "made"},
                   {arrow::int64(), arrow::utf8(), arrow::float64(), arrow::int64(), time, time}};
  const int64_t keys = random.One<int64_t>({1, 5, 40, 300});
  for (int64_t rows = random.One<int64_t>({0, 1, 20, 120, 400}); rows > 0; --rows) {
    Row row(6);
    if (random.Chance(0.9)) row[0] = random.Int(-keys / 2, keys);
    if (random.Chance(0.9))
      row[1] = random.Chance(0.1) ? std::string("a\0b", 3)
                                  : std::string(static_cast<size_t>(random.Int(0, 3)), 'a');
    if (random.Chance(0.8)) row[2] = static_cast<double>(random.Int(-40, 40)) / 4;
    if (random.Chance(0.05)) row[2] = random.One<double>({-0.0, NAN, INFINITY, -INFINITY});
    if (random.Chance(0.9)) row[3] = random.Int(-100, 100);
    if (random.Chance(0.9)) row[4] = random.Int(-30, 60);
    if (random.Chance(0.9)) row[5] = random.Int(-30, 60);
    table.rows.push_back(std::move(row));
  }
  return table;
}

/// JSON has no NaN and no infinity.
inline void MakeFinite(NaiveTable& table) {
  for (Row& row : table.rows) {
    for (Value& value : row) {
      const auto* number = std::get_if<double>(&value);
      if (number != nullptr && !std::isfinite(*number)) value = Value();
    }
  }
}

class CaseRows {
 protected:
  /// Files are written below `folder`.
  CaseRows(Random& random, const CaseWorld& world, std::string folder)
      : random_(random), world_(world), folder_(std::move(folder)) {}

  using Places = std::vector<std::string>;

  static Case Then(Case plan, const std::function<Dataset(const Dataset&)>& step) {
    plan.dataset = step(plan.dataset);
    return plan;
  }

  static void AddColumn(NaiveTable& table, const std::string& name,
                        const std::shared_ptr<arrow::DataType>& type,
                        const std::function<Value(const Row&)>& value) {
    table.names.push_back(name);
    table.types.push_back(type);
    for (Row& row : table.rows) row.push_back(value(row));
  }

  std::string NewName(const char* prefix) { return Concat(prefix, ++counter_); }

  static Places Columns(const NaiveTable& table, std::initializer_list<arrow::Type::type> types) {
    Places names;
    for (size_t i = 0; i < table.names.size(); ++i) {
      if (std::ranges::find(types, table.types[i]->id()) != types.end())
        names.push_back(table.names[i]);
    }
    return names;
  }
  static Places Numbers(const NaiveTable& table) { return Columns(table, {arrow::Type::INT64}); }

  Case Source() {
    NaiveTable table = RandomNaiveTable(random_);
    const int64_t kind = random_.Int(0, 9);
    if (kind < 4) return {InMemory(*table.ToArrow(), random_), std::move(table)};
    if (kind < 5) return {InParts(*table.ToArrow(), random_, world_.tables), std::move(table)};
    return Files(std::move(table));
  }

  Case Files(NaiveTable table) {
    // Sorted, so that row groups can be pruned.
    const bool is_sorted = random_.Chance(0.6);
    if (is_sorted) table = NaiveSort(std::move(table), {{.column = "k"}});
    FileVariety variety{
        .format = random_.One<table::FileFormat>(
            {table::FileFormat::kParquet, table::FileFormat::kParquet, table::FileFormat::kParquet,
             table::FileFormat::kParquet, table::FileFormat::kIpc, table::FileFormat::kCsv,
             table::FileFormat::kJson}),
        .mixed_formats = random_.Chance(0.2),
        .other_columns = random_.Chance(0.1)};
    if (variety.mixed_formats) variety.format = table::FileFormat::kParquet;
    if (random_.Chance(0.2)) variety.renamed = random_.One(table.names);
    if (random_.Chance(0.2) && variety.renamed != "k") variety.narrowed = "k";
    if (!table.rows.empty() && random_.Chance(0.2)) AddPartition(table, &variety);
    // No lines have no schema.
    if (variety.format == table::FileFormat::kJson && table.rows.empty())
      variety.format = table::FileFormat::kCsv;
    if (variety.format == table::FileFormat::kJson) MakeFinite(table);
    const auto arrow = table.ToArrow();
    Case read{InFiles(*arrow, random_, Concat(folder_, "/", ++counter_), variety),
              std::move(table)};
    if (is_sorted && random_.Chance(0.4)) {
      return FilterNumber(std::move(read), "k", random_.Int(-20, 20), NumberFilter::kPlain);
    }
    return random_.Chance(0.5) ? Filter(std::move(read)) : std::move(read);
  }

  void AddPartition(NaiveTable& table, FileVariety* variety) {
    variety->partition = "p";
    int64_t value = 0;
    AddColumn(table, "p", arrow::int64(), [&](const Row&) -> Value {
      if (random_.Chance(0.1)) value = std::min<int64_t>(value + 1, 5);
      if (value == 5) return {};
      return value;
    });
    if (IsNull(table.rows[0].back())) table.rows[0].back() = int64_t{0};
  }

  Case Filter(Case plan) {
    NaiveTable& table = plan.expected;
    const auto numbers = Numbers(table);
    const auto reals = Columns(table, {arrow::Type::DOUBLE});
    const auto texts = Columns(table, {arrow::Type::STRING});
    const int64_t bound = random_.Int(-20, 20);
    if (!numbers.empty() && random_.Chance(0.5)) {
      return FilterNumber(
          std::move(plan), random_.One(numbers), bound,
          random_.One<NumberFilter>({NumberFilter::kPlain, NumberFilter::kQuotient,
                                     NumberFilter::kTriple, NumberFilter::kTriple}));
    }
    std::string text = "true";
    std::function<bool(const Row&)> passes = [](const Row&) { return true; };
    if (!reals.empty() && random_.Chance(0.5)) {
      const std::string name = random_.One(reals);
      const size_t at = table.Place(name);
      text = Concat(name, " <= ", bound, " or ", name, " is null");
      passes = [at, bound](const Row& row) {
        const auto* value = std::get_if<double>(&row[at]);
        return value == nullptr || *value <= static_cast<double>(bound);
      };
    } else if (!texts.empty()) {
      const std::string name = random_.One(texts);
      const size_t at = table.Place(name);
      text = Concat(name, " in ('a', 'aa') and ", name, " != ''");
      passes = [at](const Row& row) {
        const auto* value = std::get_if<std::string>(&row[at]);
        return value != nullptr && (*value == "a" || *value == "aa");
      };
    }
    std::erase_if(table.rows, [&](const Row& row) { return !passes(row); });
    return Then(std::move(plan), [&](const Dataset& rows) { return rows.Filter(text); });
  }

  /// By the number itself, by a quotient that only a guard makes safe, or by a plug-in's function.
  enum class NumberFilter { kPlain, kQuotient, kTriple };

  Case FilterNumber(Case plan, const std::string& name, int64_t bound, NumberFilter kind) {
    const size_t at = plan.expected.Place(name);
    const bool is_guarded = random_.Chance(0.8);
    std::string text = Concat(name, " > ", bound);
    if (kind == NumberFilter::kQuotient)
      text = Concat(name, " != 0 and 100 // ", name, " > ", bound);
    if (kind == NumberFilter::kTriple) text = Concat("triple(", name, ") > ", bound);
    if (kind == NumberFilter::kTriple && is_guarded) text = Concat(name, " != -13 and ", text);
    std::erase_if(plan.expected.rows, [&](const Row& row) {
      const auto* value = std::get_if<int64_t>(&row[at]);
      if (value == nullptr) return true;
      if (kind == NumberFilter::kPlain) return *value <= bound;
      if (kind == NumberFilter::kQuotient) {
        return *value == 0 ||
               std::floor(100.0 / static_cast<double>(*value)) <= static_cast<double>(bound);
      }
      if (*value == -13 && is_guarded) return true;
      plan.may_fail = plan.may_fail || *value == -13;
      return 3 * *value <= bound;
    });
    return Then(std::move(plan), [&](const Dataset& rows) {
      return Dataset(MakeNode(FilterSpec{text, world_.extensions.functions},
                              {gnomon::test::ValueOf(rows.plan())}));
    });
  }

  Case Derive(Case plan) {
    NaiveTable& table = plan.expected;
    const auto numbers = Numbers(table);
    if (numbers.empty()) return plan;
    const std::string from = random_.One(numbers);
    const std::string other = random_.One(numbers);
    const size_t at = table.Place(from);
    if (from != other && random_.Chance(0.3)) {
      // Each expression sees the columns of the input only.
      const size_t there = table.Place(other);
      for (Row& row : table.rows) std::swap(row[at], row[there]);
      return Then(std::move(plan), [&](const Dataset& rows) {
        return rows.Derive({{from, other}, {other, from}});
      });
    }
    const bool replaces = random_.Chance(0.3);
    const std::string to = replaces ? from : NewName("d");
    const auto derived = [at](const Row& row) {
      const auto* value = std::get_if<int64_t>(&row[at]);
      return value == nullptr ? Value() : Value(*value % 1000 + 1);
    };
    if (!replaces) AddColumn(table, to, arrow::int64(), derived);
    if (replaces) {
      for (Row& row : table.rows) row[at] = derived(row);
    }
    // `%` rounds down here and towards zero in C++.
    const std::string text = Concat("case when ", from, " >= 0 then ", from, " % 1000 else -((-",
                                    from, ") % 1000) end + 1");
    return Then(std::move(plan), [&](const Dataset& rows) { return rows.Derive(to, text); });
  }

  /// A plug-in's function: in an expression, or over batches.
  Case Triple(Case plan) {
    NaiveTable& table = plan.expected;
    const auto numbers = Numbers(table);
    if (numbers.empty()) return plan;
    const std::string from = random_.One(numbers);
    const size_t at = table.Place(from);
    const bool maps = random_.Chance(0.4);
    const bool is_guarded = random_.Chance(0.7);
    std::string text =
        is_guarded ? Concat("case when ", from, " = -13 then null else ", from, " end") : from;
    if (!maps) {
      text = is_guarded ? Concat("case when ", from, " != -13 then triple(", from, ") end")
                        : Concat("triple(", from, ")");
    }
    const auto tripled = [&plan, at, is_guarded](const Row& row) -> Value {
      const auto* value = std::get_if<int64_t>(&row[at]);
      if (value == nullptr || (is_guarded && *value == -13)) return {};
      plan.may_fail = plan.may_fail || *value == -13;
      return 3 * *value;
    };
    const std::string to = maps ? "triple" : NewName("triple");
    const auto place = std::ranges::find(table.names, to);
    if (place == table.names.end()) {
      AddColumn(table, to, arrow::int64(), tripled);
    } else {
      const auto there = static_cast<size_t>(place - table.names.begin());
      table.types[there] = arrow::int64();
      for (Row& row : table.rows) row[there] = tripled(row);
    }
    const int64_t rows_per_call = random_.Int(1, 50);
    return Then(std::move(plan), [&](const Dataset& rows) {
      if (maps) return rows.MapBatches(world_.extensions, "triple", text, rows_per_call);
      return rows.Derive({{to, text, nullptr, world_.extensions.functions}});
    });
  }

  Case Select(Case plan) {
    Places names;
    for (const std::string& name : plan.expected.names) {
      if (random_.Chance(0.7)) names.push_back(name);
    }
    if (names.empty()) names = {plan.expected.names[0]};
    std::reverse(names.begin(), names.end());
    plan.expected = NaiveSelect(plan.expected, names);
    return Then(std::move(plan), [&](const Dataset& rows) { return rows.Select(names); });
  }

  Case Project(Case plan) {
    NaiveTable output{{}, {}, std::vector<Row>(plan.expected.rows.size())};
    std::vector<NamedExpression> expressions;
    for (size_t i = 0; i < plan.expected.names.size(); ++i) {
      if (!expressions.empty() && random_.Chance(0.2)) continue;
      const std::string& name = plan.expected.names[i];
      const bool adds = plan.expected.types[i]->id() == arrow::Type::INT64 && random_.Chance(0.3);
      const std::string to = adds ? NewName("q") : name;
      expressions.push_back({to, adds ? Concat("coalesce(", name, ", 7) + 1") : name});
      output.names.push_back(to);
      output.types.push_back(plan.expected.types[i]);
      for (size_t row = 0; row < output.rows.size(); ++row) {
        Value value = plan.expected.rows[row][i];
        if (adds) value = (IsNull(value) ? 7 : std::get<int64_t>(value)) + 1;
        output.rows[row].push_back(std::move(value));
      }
    }
    plan.expected = std::move(output);
    return Then(std::move(plan), [&](const Dataset& rows) { return rows.Project(expressions); });
  }

  /// Of a registry or of a plug-in; by call.
  Case MapBatches(Case plan) {
    NaiveTable& table = plan.expected;
    const int64_t rows_per_call = random_.Int(1, 50);
    const auto size = static_cast<int64_t>(table.rows.size());
    if (random_.Chance(0.3)) {
      table = {{"rows"}, {arrow::int64()}};
      for (int64_t begin = 0; begin < size; begin += rows_per_call)
        table.rows.push_back({std::min(rows_per_call, size - begin)});
      return Then(std::move(plan), [&](const Dataset& rows) {
        return rows.MapBatches(world_.extensions, "call_rows", "", rows_per_call);
      });
    }
    if (std::ranges::find(table.names, "call_rows") != table.names.end()) return plan;
    int64_t row = 0;
    AddColumn(table, "call_rows", arrow::int64(), [&](const Row&) {
      return std::min(rows_per_call, size - row++ / rows_per_call * rows_per_call);
    });
    return Then(std::move(plan), [&](const Dataset& rows) {
      return rows.MapBatches(world_.functions, "count_rows", "", rows_per_call);
    });
  }

  Random& random_;
  const CaseWorld& world_;
  const std::string folder_;
  int counter_ = 0;
};

}  // namespace gnomon::dataset::test
