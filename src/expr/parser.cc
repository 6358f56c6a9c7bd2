#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>
#include <utility>

#include "base/text.h"
#include "base/time.h"
#include "expr/diagnostic_internal.h"
#include "expr/lexer_internal.h"
#include "expr/parser_internal.h"
#include "expr/utf8_internal.h"

namespace gnomon::expr {

namespace {

using Node = Expression::Node;
using NodePtr = std::shared_ptr<const Node>;
using Shape = Node::Shape;

enum Power { kLowest, kOr, kAnd, kNot, kComparison, kSum, kProduct, kNegation, kIndex };

constexpr std::array<std::string_view, 16> kReserved = {
    "and",  "or",   "not",  "is",   "in",  "null", "between", "like",
    "case", "when", "then", "else", "end", "true", "false",   "as"};

bool IsReserved(std::string_view word) {
  return std::ranges::find(kReserved, ToLower(word)) != kReserved.end();
}

Power PowerOf(std::string_view sign) {
  if (sign == "+" || sign == "-") return kSum;
  if (sign == "*" || sign == "/" || sign == "//" || sign == "%") return kProduct;
  if (sign == "[") return kIndex;
  const bool compares = sign == "=" || sign == "==" || sign == "!=" || sign == "<>" ||
                        sign == "<" || sign == "<=" || sign == ">" || sign == ">=";
  return compares ? kComparison : kLowest;
}

class Parser {
 public:
  Parser(std::string_view text, std::vector<Token> tokens)
      : text_(text), tokens_(std::move(tokens)) {}

  Result<NodePtr> Run() {
    if (Peek().kind == Token::Kind::kEnd) return Error(Peek(), "an empty expression");
    GNOMON_ASSIGN_OR_RETURN(NodePtr root, Parse(kLowest));
    if (Peek().kind != Token::Kind::kEnd) return Unexpected("the end or an operator");
    return root;
  }

 private:
  const Token& Peek(size_t ahead = 0) const {
    return tokens_[std::min(next_ + ahead, tokens_.size() - 1)];
  }
  Token Take() {
    Token token = Peek();
    if (next_ + 1 < tokens_.size()) ++next_;
    return token;
  }
  bool AtSign(std::string_view sign, size_t ahead = 0) const {
    return Peek(ahead).kind == Token::Kind::kSign && Peek(ahead).text == sign;
  }
  bool AtWord(std::string_view word, size_t ahead = 0) const {
    return Peek(ahead).kind == Token::Kind::kWord && ToLower(Peek(ahead).text) == word;
  }
  bool Accept(bool present) {
    if (present) Take();
    return present;
  }
  int LastEnd() const { return next_ == 0 ? 0 : tokens_[next_ - 1].span.end; }

  Status Error(const Token& token, std::string_view message, std::string hint = {}) const {
    return ErrorAt(text_, token.span.begin, message, std::move(hint));
  }
  Status Unexpected(std::string_view expected) const {
    const Token& token = Peek();
    const std::string found = token.kind == Token::Kind::kEnd
                                  ? "the end"
                                  : Excerpt(text_, token.span.begin, token.span.end);
    const bool keyword = token.kind == Token::Kind::kWord && IsReserved(token.text);
    return Error(
        token, Concat("expected ", expected, " but found: ", found),
        keyword ? Concat("a column of that name is written \"", token.text, '"') : std::string());
  }
  Status ExpectSign(std::string_view sign) {
    return Accept(AtSign(sign)) ? Status::OK() : Unexpected(sign);
  }
  Status ExpectWord(std::string_view word) {
    return Accept(AtWord(word)) ? Status::OK() : Unexpected(word);
  }

  Result<NodePtr> Finish(Node node, int begin, int at) const {
    for (const NodePtr& child : node.children) node.depth = std::max(node.depth, child->depth + 1);
    if (node.depth > Node::kMaxDepth) return TooDeep(at);
    node.span = {begin, LastEnd()};
    node.at = at;
    return std::make_shared<const Node>(std::move(node));
  }
  Status TooDeep(int at) const {
    return ErrorAt(text_, at,
                   Concat("an expression that is nested deeper than ", Node::kMaxDepth, " levels"));
  }
  Result<NodePtr> Call(std::string name, Node::Children children, int begin, int at) const {
    Node node;
    node.shape = Shape::kCall;
    node.name = std::move(name);
    node.children = std::move(children);
    return Finish(std::move(node), begin, at);
  }
  Result<NodePtr> Constant(Literal literal, int begin) const {
    Node node;
    node.literal = std::move(literal);
    return Finish(std::move(node), begin, begin);
  }

  // Reads everything that binds stronger than `weakest`.
  Result<NodePtr> Parse(Power weakest) {
    if (++recursion_ > Node::kMaxDepth) return TooDeep(Peek().span.begin);
    const int begin = Peek().span.begin;  // of an opening bracket, which the node's own span lacks
    Result<NodePtr> result = ParsePrefix();
    while (result.ok()) {
      const Power power = NextPower();
      if (power == kLowest || power <= weakest) break;
      result = ParseInfix(*std::move(result), power, begin);
    }
    --recursion_;
    return result;
  }

  Power NextPower() const {
    if (Peek().kind == Token::Kind::kSign) return PowerOf(Peek().text);
    if (AtWord("or")) return kOr;
    if (AtWord("and")) return kAnd;
    if (AtWord("is") || AtWord("in") || AtWord("between") || AtWord("like")) return kComparison;
    if (AtWord("not") && (AtWord("in", 1) || AtWord("between", 1) || AtWord("like", 1)))
      return kComparison;
    return kLowest;
  }

  Result<NodePtr> ParseInfix(NodePtr left, Power power, int begin) {
    if (power == kOr) return ParseChain(std::move(left), Shape::kOr, "or", kOr, begin);
    if (power == kAnd) return ParseChain(std::move(left), Shape::kAnd, "and", kAnd, begin);
    if (power == kIndex) {
      const int at = Take().span.begin;
      GNOMON_ASSIGN_OR_RETURN(NodePtr index, Parse(kLowest));
      GNOMON_RETURN_NOT_OK(ExpectSign("]"));
      return Call("[]", {std::move(left), std::move(index)}, begin, at);
    }
    if (power != kComparison) {
      const Token sign = Take();
      GNOMON_ASSIGN_OR_RETURN(NodePtr right, Parse(power));
      return Call(sign.text, {std::move(left), std::move(right)}, begin, sign.span.begin);
    }
    GNOMON_ASSIGN_OR_RETURN(NodePtr result, ParseComparison(std::move(left), begin));
    if (NextPower() == kComparison) {
      return Error(Peek(), "comparisons do not chain", "write: a < b and b < c");
    }
    return result;
  }

  Result<NodePtr> ParseChain(NodePtr first, Shape shape, std::string_view word, Power power,
                             int begin) {
    const int at = Peek().span.begin;
    Node node;
    node.shape = shape;
    node.children.push_back(std::move(first));
    while (Accept(AtWord(word))) {
      GNOMON_ASSIGN_OR_RETURN(NodePtr child, Parse(power));
      node.children.push_back(std::move(child));
    }
    return Finish(std::move(node), begin, at);
  }

  Result<NodePtr> ParseComparison(NodePtr left, int begin) {
    const int at = Peek().span.begin;
    if (Peek().kind == Token::Kind::kSign) {
      std::string sign = Take().text;
      if (sign == "==") sign = "=";
      if (sign == "<>") sign = "!=";
      GNOMON_ASSIGN_OR_RETURN(NodePtr right, Parse(kComparison));
      return Call(std::move(sign), {std::move(left), std::move(right)}, begin, at);
    }
    if (Accept(AtWord("is"))) {
      Node node;
      node.shape = Shape::kIsNull;
      node.negated = Accept(AtWord("not"));
      GNOMON_RETURN_NOT_OK(ExpectWord("null"));
      node.children.push_back(std::move(left));
      return Finish(std::move(node), begin, at);
    }
    const bool negated = Accept(AtWord("not"));
    GNOMON_ASSIGN_OR_RETURN(NodePtr positive, ParseMembership(std::move(left), begin, at));
    if (!negated) return positive;
    return Call("not", {std::move(positive)}, begin, at);
  }

  Result<NodePtr> ParseMembership(NodePtr left, int begin, int at) {
    if (Accept(AtWord("like"))) {
      GNOMON_ASSIGN_OR_RETURN(NodePtr pattern, Parse(kComparison));
      return Call("like", {std::move(left), std::move(pattern)}, begin, at);
    }
    if (Accept(AtWord("between"))) {
      GNOMON_ASSIGN_OR_RETURN(NodePtr low, Parse(kComparison));
      GNOMON_RETURN_NOT_OK(ExpectWord("and"));
      GNOMON_ASSIGN_OR_RETURN(NodePtr high, Parse(kComparison));
      return Call("between", {std::move(left), std::move(low), std::move(high)}, begin, at);
    }
    GNOMON_RETURN_NOT_OK(ExpectWord("in"));
    GNOMON_RETURN_NOT_OK(ExpectSign("("));
    Node node;
    node.shape = Shape::kIn;
    node.children.push_back(std::move(left));
    do {
      GNOMON_ASSIGN_OR_RETURN(NodePtr item, Parse(kLowest));
      node.children.push_back(std::move(item));
    } while (Accept(AtSign(",")));
    GNOMON_RETURN_NOT_OK(ExpectSign(")"));
    return Finish(std::move(node), begin, at);
  }

  Result<NodePtr> ParsePrefix() {
    const Token token = Peek();
    const int begin = token.span.begin;
    switch (token.kind) {
      case Token::Kind::kInteger:
      case Token::Kind::kFloat:
        return ParseNumber(false, begin);
      case Token::Kind::kText:
        Take();
        return Constant(token.text, begin);
      case Token::Kind::kQuoted:
        return ParseColumn();
      case Token::Kind::kWord:
        return ParseWord();
      default:
        break;
    }
    if (Accept(AtSign("("))) {
      GNOMON_ASSIGN_OR_RETURN(NodePtr inner, Parse(kLowest));
      GNOMON_RETURN_NOT_OK(ExpectSign(")"));
      return inner;
    }
    if (Accept(AtSign("+"))) return Parse(kNegation);
    if (Accept(AtSign("-"))) {
      if (Peek().kind == Token::Kind::kInteger || Peek().kind == Token::Kind::kFloat) {
        return ParseNumber(true, begin);
      }
      GNOMON_ASSIGN_OR_RETURN(NodePtr operand, Parse(kNegation));
      return Call("unary -", {std::move(operand)}, begin, begin);
    }
    return Unexpected("a value");
  }

  Result<NodePtr> ParseNumber(bool negative, int begin) {
    const Token token = Take();
    const std::string digits = (negative ? "-" : "") + token.text;
    const char* const end = digits.data() + digits.size();
    if (token.kind == Token::Kind::kInteger) {
      int64_t value = 0;
      if (std::from_chars(digits.data(), end, value).ec != std::errc()) {
        return Error(token, "an integer that 64 bits cannot hold",
                     Concat("as a float: ", token.text, ".0"));
      }
      return Constant(value, begin);
    }
    double value = 0;
    if (std::from_chars(digits.data(), end, value).ec != std::errc()) {
      return Error(token, "a number that a float64 cannot hold");
    }
    return Constant(value, begin);
  }

  Result<NodePtr> ParseColumn() {
    const Token token = Take();
    if (AtSign("(")) {
      return Error(token, "function names are not quoted");
    }
    Node node;
    node.shape = Shape::kColumn;
    node.name = token.text;
    return Finish(std::move(node), token.span.begin, token.span.begin);
  }

  Result<NodePtr> ParseWord() {
    const Token token = Peek();
    const int begin = token.span.begin;
    if (Accept(AtWord("null"))) return Constant(std::monostate{}, begin);
    if (Accept(AtWord("true"))) return Constant(true, begin);
    if (Accept(AtWord("false"))) return Constant(false, begin);
    if (Accept(AtWord("not"))) {
      GNOMON_ASSIGN_OR_RETURN(NodePtr operand, Parse(kNot));
      return Call("not", {std::move(operand)}, begin, begin);
    }
    if (Accept(AtWord("case"))) return ParseCase(begin);
    if (IsReserved(token.text)) return Unexpected("a value");
    if (Peek(1).kind == Token::Kind::kText) return ParseTimeLiteral();
    if (!AtSign("(", 1)) return ParseColumn();
    Take();
    Take();
    if (ToLower(token.text) == "cast") return ParseCast(begin);
    return ParseArguments(token);
  }

  Result<NodePtr> ParseArguments(const Token& name) {
    Node::Children arguments;
    if (!AtSign(")")) {
      do {
        GNOMON_ASSIGN_OR_RETURN(NodePtr argument, Parse(kLowest));
        arguments.push_back(std::move(argument));
      } while (Accept(AtSign(",")));
    }
    GNOMON_RETURN_NOT_OK(ExpectSign(")"));
    return Call(ToLower(name.text), std::move(arguments), name.span.begin, name.span.begin);
  }

  Result<NodePtr> ParseCast(int begin) {
    GNOMON_ASSIGN_OR_RETURN(NodePtr operand, Parse(kLowest));
    GNOMON_RETURN_NOT_OK(ExpectWord("as"));
    const Token type = Peek();
    if (type.kind != Token::Kind::kWord) return Unexpected("a type");
    Take();
    GNOMON_RETURN_NOT_OK(ExpectSign(")"));
    Node node;
    node.shape = Shape::kCast;
    node.name = type.text;
    node.children.push_back(std::move(operand));
    return Finish(std::move(node), begin, type.span.begin);
  }

  Result<NodePtr> ParseCase(int begin) {
    Node node;
    node.shape = Shape::kCase;
    if (!AtWord("when")) {
      node.has_operand = true;
      GNOMON_ASSIGN_OR_RETURN(NodePtr operand, Parse(kLowest));
      node.children.push_back(std::move(operand));
    }
    if (!AtWord("when")) return Unexpected("when");
    while (Accept(AtWord("when"))) {
      GNOMON_ASSIGN_OR_RETURN(NodePtr when, Parse(kLowest));
      GNOMON_RETURN_NOT_OK(ExpectWord("then"));
      GNOMON_ASSIGN_OR_RETURN(NodePtr then, Parse(kLowest));
      node.children.push_back(std::move(when));
      node.children.push_back(std::move(then));
    }
    if (Accept(AtWord("else"))) {
      node.has_else = true;
      GNOMON_ASSIGN_OR_RETURN(NodePtr otherwise, Parse(kLowest));
      node.children.push_back(std::move(otherwise));
    }
    if (!Accept(AtWord("end"))) return Unexpected(node.has_else ? "end" : "when, else or end");
    return Finish(std::move(node), begin, begin);
  }

  Result<NodePtr> ParseTimeLiteral() {
    const std::string word = ToLower(Peek().text);
    const bool is_duration = word == "interval" || word == "duration";
    if (!is_duration && word != "timestamp" && word != "date") {
      Take();
      return Unexpected("an operator");
    }
    const int begin = Take().span.begin;
    const Token token = Take();
    const Result<int64_t> parsed =
        is_duration ? ParseDuration(token.text) : ParseTimestamp(token.text);
    if (!parsed.ok()) return Error(token, parsed.status().message(), HintOf(parsed.status()));
    if (is_duration) return Constant(DurationLiteral{*parsed}, begin);
    if (word == "timestamp") return Constant(TimestampLiteral{*parsed}, begin);
    if (*parsed % kMicrosPerDay != 0) {
      return Error(token, Concat("a date with a time of day: ", token.text),
                   "write: timestamp '...'");
    }
    return Constant(DateLiteral{*parsed / kMicrosPerDay}, begin);
  }

  const std::string_view text_;
  const std::vector<Token> tokens_;
  size_t next_ = 0;
  int recursion_ = 0;
};

}  // namespace

Result<std::shared_ptr<const Expression::Node>> ParseTree(std::string_view text) {
  if (text.size() > kMaxTextBytes) {
    return Error(ErrorKind::kUser, "an expression longer than 64 KiB: ", text.size(), " bytes");
  }
  if (!IsValidUtf8(text)) return Error(ErrorKind::kUser, "an expression that is not valid UTF-8");
  GNOMON_ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(text));
  return Parser(text, std::move(tokens)).Run();
}

}  // namespace gnomon::expr
