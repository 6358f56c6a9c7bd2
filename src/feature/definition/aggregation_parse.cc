#include <limits>
#include <utility>

#include "base/text.h"
#include "feature/definition/definition_parse_internal.h"

namespace gnomon::feature {

namespace {

// A parameter that the function has no use for is a mistake.
Status CheckParameter(const ConfigNode& node, std::string_view key, bool has_use,
                      std::string_view use) {
  if (!node.Has(key) || has_use) return Status::OK();
  return node.Get(key).ErrorHere(Concat("only ", use, " takes ", key));
}

// A function of our own or of a plug-in library; errors point at the member.
Status ParseFunction(const ConfigNode& node, const std::string& function,
                     const Extensions* extensions, Aggregation* aggregation) {
  const auto parsed = pit::ParseAggregateFunction(ToLower(function));
  if (parsed.ok()) {
    aggregation->function = *parsed;
    return Status::OK();
  }
  if (extensions != nullptr && extensions->FindAggregate(function) != nullptr) {
    aggregation->function = pit::AggregateFunction::kCustom;
    aggregation->custom.name = function;
    return Status::OK();
  }
  Status status = parsed.status();
  if (extensions != nullptr) {
    const std::string near = DidYouMean(function, extensions->AggregateNames());
    if (!near.empty()) status = WithHint(status, near);
  }
  const ConfigNode member = node.Get("function");
  return WithLocation(WithContext(status, member.path()), member.location());
}

}  // namespace

Result<Aggregation> ParseAggregation(const ConfigNode& node, const Extensions* extensions) {
  using pit::AggregateFunction;
  GNOMON_RETURN_NOT_OK(RequireMapping(node));
  GNOMON_RETURN_NOT_OK(node.CheckKeys(
      {"column", "function", "time_window", "slide_interval", "name", "k", "quantile", "ddof"}));
  Aggregation aggregation;
  std::string function;
  GNOMON_RETURN_NOT_OK(MemberReader(node)
                           .Text("column", &aggregation.column)
                           .Text("function", &function)
                           .Duration("time_window", &aggregation.time_window)
                           .Duration("slide_interval", &aggregation.slide_interval)
                           .Text("name", &aggregation.name)
                           .status());
  if (aggregation.column.empty()) return node.ErrorHere("column is missing");
  if (function.empty()) return node.ErrorHere("function is missing");
  GNOMON_RETURN_NOT_OK(ParseFunction(node, function, extensions, &aggregation));
  const AggregateFunction parsed = aggregation.function;
  const bool is_spread = parsed == AggregateFunction::kStd || parsed == AggregateFunction::kVar;
  GNOMON_RETURN_NOT_OK(CheckParameter(node, "k", parsed == AggregateFunction::kLastK, "last_k"));
  GNOMON_RETURN_NOT_OK(
      CheckParameter(node, "quantile", parsed == AggregateFunction::kQuantile, "quantile"));
  GNOMON_RETURN_NOT_OK(CheckParameter(node, "ddof", is_spread, "std and var"));
  if (node.Has("k")) {
    GNOMON_ASSIGN_OR_RETURN(aggregation.k, node.Get("k").AsInt());
  }
  if (node.Has("quantile")) {
    GNOMON_ASSIGN_OR_RETURN(aggregation.quantile, node.Get("quantile").AsDouble());
  }
  if (node.Has("ddof")) {
    GNOMON_ASSIGN_OR_RETURN(const int64_t ddof, node.Get("ddof").AsInt());
    if (ddof < 0 || ddof > std::numeric_limits<int>::max()) {
      return node.Get("ddof").ErrorHere(Concat("out of range: ", ddof));
    }
    aggregation.ddof = static_cast<int>(ddof);
  }
  if (aggregation.name.empty()) aggregation.name = DefaultName(aggregation);
  return aggregation;
}

}  // namespace gnomon::feature
