#include "expr/predicate.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/text.h"
#include "expr/node_internal.h"

namespace gnomon::expr {

namespace {

using Node = Expression::Node;
using Shape = Node::Shape;

std::string TextOf(const Expression& whole, const Node& node) {
  const auto begin = static_cast<size_t>(node.span.begin);
  return whole.text().substr(begin, static_cast<size_t>(node.span.end) - begin);
}

void CollectConjuncts(const Expression& whole, const Node& node, std::vector<Expression>* out) {
  if (node.shape == Shape::kAnd) {
    for (const auto& child : node.children) CollectConjuncts(whole, *child, out);
    return;
  }
  auto part = Expression::Parse(TextOf(whole, node));
  GNOMON_CHECK(part.ok(), "part of an expression: ", whole.text());
  out->push_back(*std::move(part));
}

bool HasColumn(const Node& node) {
  return node.shape == Shape::kColumn ||
         std::ranges::any_of(node.children, [](const auto& child) { return HasColumn(*child); });
}

bool NodeNeverFails(const Node& node) {
  constexpr std::array<std::string_view, 11> kSafe = {
      "=", "==", "!=", "<>", "<", "<=", ">", ">=", "not", "like", "between"};
  constexpr std::array kSafeShapes = {Shape::kLiteral, Shape::kColumn, Shape::kAnd,
                                      Shape::kOr,      Shape::kIsNull, Shape::kIn};
  const bool safe = node.shape == Shape::kCall
                        ? std::ranges::find(kSafe, node.name) != kSafe.end()
                        : std::ranges::find(kSafeShapes, node.shape) != kSafeShapes.end();
  return safe && std::ranges::all_of(node.children,
                                     [](const auto& child) { return NodeNeverFails(*child); });
}

std::string Quote(std::string_view name) {
  std::string text = "\"";
  for (const char c : name) {
    text.push_back(c);
    if (c == '"') text.push_back('"');
  }
  return text + "\"";
}

/// The sign when its sides change places.
std::string_view Mirrored(std::string_view sign) {
  if (sign == "<") return ">";
  if (sign == "<=") return ">=";
  if (sign == ">") return "<";
  if (sign == ">=") return "<=";
  return sign;
}

class BoundCollector {
 public:
  explicit BoundCollector(const Expression& whole) : whole_(whole) {}

  std::vector<Bound> Collect(const Node& node) {
    if (node.shape == Shape::kCall && node.children.size() == 2) {
      const Node& left = *node.children[0];
      const Node& right = *node.children[1];
      if (left.shape == Shape::kColumn) AddComparison(left, node.name, right);
      if (right.shape == Shape::kColumn) AddComparison(right, Mirrored(node.name), left);
    } else if (node.shape == Shape::kCall && node.name == "between" &&
               node.children[0]->shape == Shape::kColumn) {
      AddComparison(*node.children[0], ">=", *node.children[1]);
      AddComparison(*node.children[0], "<=", *node.children[2]);
    } else if (node.shape == Shape::kOr) {
      AddDisjunction(node);
    }
    return std::move(bounds_);
  }

 private:
  void AddComparison(const Node& column, std::string_view sign, const Node& constant) {
    if (HasColumn(constant)) return;
    if (sign == "=" || sign == "==") {
      Add(column, ">=", constant);
      Add(column, "<=", constant);
    } else if (sign == "<" || sign == "<=" || sign == ">" || sign == ">=") {
      Add(column, sign, constant);
    }
  }

  void Add(const Node& column, std::string_view sign, const Node& constant) {
    auto comparison = Expression::Parse(
        Concat(Quote(column.name), " ", sign, " (", TextOf(whole_, constant), ")"));
    if (!comparison.ok()) return;
    bounds_.push_back({.column = column.name,
                       .comparison = *std::move(comparison),
                       .is_upper = sign.starts_with('<'),
                       .constant = TextOf(whole_, constant)});
  }

  void AddDisjunction(const Node& node) {
    std::vector<std::string> texts;
    std::vector<Bound> alternatives;
    for (const auto& child : node.children) {
      std::vector<Bound> bounds = BoundCollector(whole_).Collect(*child);
      if (bounds.size() != 1) return;
      texts.push_back(bounds[0].comparison.text());
      alternatives.push_back(std::move(bounds[0]));
      if (alternatives.back().column != alternatives[0].column ||
          alternatives.back().is_upper != alternatives[0].is_upper) {
        return;
      }
    }
    auto comparison = Expression::Parse(Join(texts, " or "));
    if (!comparison.ok()) return;
    bounds_.push_back({.column = alternatives[0].column,
                       .comparison = *std::move(comparison),
                       .is_upper = alternatives[0].is_upper,
                       .constant = {}});
  }

  const Expression& whole_;
  std::vector<Bound> bounds_;
};

struct Replacement {
  Span span;
  std::string text;
};

void CollectReplacements(const Node& node, const std::map<std::string, std::string>& names,
                         std::vector<Replacement>* out) {
  if (node.shape == Shape::kColumn) {
    if (const auto name = names.find(node.name); name != names.end() && name->second != node.name)
      out->push_back({node.span, Quote(name->second)});
  }
  for (const auto& child : node.children) CollectReplacements(*child, names, out);
}

}  // namespace

std::vector<Expression> Conjuncts(const Expression& predicate) {
  std::vector<Expression> parts;
  CollectConjuncts(predicate, predicate.root(), &parts);
  return parts;
}

bool NeverFails(const Expression& expression) { return NodeNeverFails(expression.root()); }

std::vector<Bound> BoundsOf(const Expression& predicate) {
  std::vector<Bound> bounds;
  for (const Expression& part : Conjuncts(predicate)) {
    for (Bound& bound : BoundCollector(part).Collect(part.root()))
      bounds.push_back(std::move(bound));
  }
  return bounds;
}

Result<Expression> RenameColumns(const Expression& expression,
                                 const std::map<std::string, std::string>& names) {
  std::vector<Replacement> replacements;
  CollectReplacements(expression.root(), names, &replacements);
  std::ranges::sort(replacements, std::ranges::greater{},
                    [](const Replacement& replacement) { return replacement.span.begin; });
  std::string text = expression.text();
  for (const auto& [span, name] : replacements) {
    text.replace(static_cast<size_t>(span.begin), static_cast<size_t>(span.end - span.begin), name);
  }
  return Expression::Parse(text);
}

}  // namespace gnomon::expr
