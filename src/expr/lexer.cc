#include <array>
#include <utility>

#include "expr/diagnostic_internal.h"
#include "expr/lexer_internal.h"

namespace gnomon::expr {

namespace {

constexpr bool IsDigit(char c) { return c >= '0' && c <= '9'; }
constexpr bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
constexpr bool BeginsWord(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
constexpr bool ContinuesWord(char c) { return BeginsWord(c) || IsDigit(c); }

// Longer signs first.
constexpr std::array<std::string_view, 20> kSigns = {"//", "==", "!=", "<>", "<=", ">=", "+",
                                                     "-",  "*",  "/",  "%",  "=",  "<",  ">",
                                                     "(",  ")",  "[",  "]",  ",",  ""};

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  Result<std::vector<Token>> Run() {
    std::vector<Token> tokens;
    while (true) {
      while (at_ < text_.size() && IsSpace(text_[at_])) ++at_;
      if (at_ == text_.size()) break;
      GNOMON_ASSIGN_OR_RETURN(Token token, Next());
      tokens.push_back(std::move(token));
    }
    tokens.push_back(Make(Token::Kind::kEnd, at_));
    return tokens;
  }

 private:
  char Peek(size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }

  Token Make(Token::Kind kind, size_t begin) const {
    return {kind,
            {static_cast<int>(begin), static_cast<int>(at_)},
            std::string(text_.substr(begin, at_ - begin))};
  }

  Status Error(size_t offset, std::string_view message, std::string hint = {}) const {
    return ErrorAt(text_, static_cast<int>(offset), message, std::move(hint));
  }

  Result<Token> Next() {
    const char c = Peek();
    if (c == '\'') return Delimited(Token::Kind::kText, "a text without its closing '");
    if (c == '"') return Delimited(Token::Kind::kQuoted, "a quoted name without its closing \"");
    if (IsDigit(c) || (c == '.' && IsDigit(Peek(1)))) return Number();
    const size_t begin = at_;
    if (BeginsWord(c)) {
      while (ContinuesWord(Peek())) ++at_;
      return Make(Token::Kind::kWord, begin);
    }
    for (const std::string_view sign : kSigns) {
      if (!sign.empty() && text_.substr(at_).starts_with(sign)) {
        at_ += sign.size();
        return Make(Token::Kind::kSign, begin);
      }
    }
    if (c == '&') return Error(at_, "unexpected character: &", "write: a and b");
    if (c == '|')
      return Error(at_, "unexpected character: |", "write a or b; concat(a, b) joins texts");
    if (c == '!') return Error(at_, "unexpected character: !", "write: not a");
    if (c == '.')
      return Error(at_, "unexpected character: .", "quote column names with dots: \"a.b\"");
    return Error(at_, static_cast<unsigned char>(c) < 0x20
                          ? std::string("unexpected control character")
                          : std::string("unexpected character: ") + c);
  }

  Result<Token> Delimited(Token::Kind kind, std::string_view unclosed) {
    const size_t begin = at_;
    const char delimiter = text_[at_++];
    std::string content;
    while (true) {
      if (at_ == text_.size()) return Error(begin, unclosed);
      const char c = text_[at_++];
      if (c != delimiter) {
        content.push_back(c);
      } else if (Peek() == delimiter) {
        content.push_back(c);
        ++at_;
      } else {
        break;
      }
    }
    if (kind == Token::Kind::kQuoted && content.empty())
      return Error(begin, "an empty quoted name");
    Token token = Make(kind, begin);
    token.text = std::move(content);
    return token;
  }

  Result<Token> Number() {
    const size_t begin = at_;
    bool is_float = false;
    while (IsDigit(Peek())) ++at_;
    if (Peek() == '.') {
      is_float = true;
      ++at_;
      while (IsDigit(Peek())) ++at_;
    }
    if (Peek() == 'e' || Peek() == 'E') {
      const size_t sign = Peek(1) == '+' || Peek(1) == '-' ? 1 : 0;
      if (IsDigit(Peek(1 + sign))) {
        is_float = true;
        at_ += 1 + sign;
        while (IsDigit(Peek())) ++at_;
      }
    }
    if (ContinuesWord(Peek())) {
      return Error(begin, "a number that runs into a word", "a duration is written: interval '7d'");
    }
    return Make(is_float ? Token::Kind::kFloat : Token::Kind::kInteger, begin);
  }

  const std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

Result<std::vector<Token>> Tokenize(std::string_view text) { return Lexer(text).Run(); }

}  // namespace gnomon::expr
