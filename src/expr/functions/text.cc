#include <algorithm>
#include <cstring>
#include <limits>

#include "expr/function_internal.h"
#include "expr/kernel_internal.h"
#include "expr/utf8_internal.h"

namespace gnomon::expr {

namespace {

using Text = std::string_view;

template <void (*map)(std::string_view, char*)>
Status MapCase(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapLive<Text>(call, out, [&](int64_t row, Text* result) {
    const Text text = in[0].At<Text>(row);
    if (text.empty()) return Status::OK();
    char* const bytes = call.evaluation.NewText(text.size());
    map(text, bytes);
    *result = {bytes, text.size()};
    return Status::OK();
  });
}

Status TrimText(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<Text, Text>(call, in[0], out, [](Text text) {
    const auto is_space = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
    while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
    while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
    return text;
  });
}

Status Length(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<int64_t, Text>(call, in[0], out, [](Text text) { return CountCharacters(text); });
}

// `start` counts from 1; a negative one from the end; 0 is the same as 1.
Text Substring(Text text, int64_t start, int64_t length) {
  if (length <= 0) return {};
  int64_t first = start > 0 ? start - 1 : 0;
  if (start < 0) {
    const int64_t total = CountCharacters(text);
    if (start < -total) {
      // The part before the text's beginning counts as taken.
      if (__builtin_add_overflow(length, start + total, &length) || length <= 0) return {};
    } else {
      first = total + start;
    }
  }
  return SubCharacters(text, first, length);
}

Status Substr(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapLive<Text>(call, out, [&](int64_t row, Text* result) {
    const int64_t length =
        in.size() == 3 ? in[2].At<int64_t>(row) : std::numeric_limits<int64_t>::max();
    *result = Substring(in[0].At<Text>(row), in[1].At<int64_t>(row), length);
    return Status::OK();
  });
}

Status ConcatTexts(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapLive<Text>(call, out, [&](int64_t row, Text* result) {
    size_t size = 0;
    for (const Vector& part : in) size += part.At<Text>(row).size();
    if (size == 0) return Status::OK();
    char* const bytes = call.evaluation.NewText(size);
    char* end = bytes;
    for (const Vector& part : in) end = std::ranges::copy(part.At<Text>(row), end).out;
    *result = {bytes, size};
    return Status::OK();
  });
}

bool Contains(Text text, Text part) { return text.find(part) != Text::npos; }
bool StartsWith(Text text, Text part) { return text.starts_with(part); }
bool EndsWith(Text text, Text part) { return text.ends_with(part); }

// `%` stands for any characters, `_` for one, `\` makes the next one literal. Steps back to the
// last `%` only, so the time is at most the product of the lengths.
bool Like(Text text, Text pattern) {
  size_t at = 0;
  size_t in_pattern = 0;
  size_t retry_at = 0;
  size_t retry_pattern = Text::npos;
  while (at < text.size()) {
    const char wanted = in_pattern < pattern.size() ? pattern[in_pattern] : '\0';
    const bool has_wanted = in_pattern < pattern.size();
    if (has_wanted && wanted == '%') {
      retry_pattern = ++in_pattern;
      retry_at = at;
      continue;
    }
    if (has_wanted && wanted == '_') {
      ++in_pattern;
      at += CharacterBytes(text, at);
      continue;
    }
    const size_t escape = has_wanted && wanted == '\\' && in_pattern + 1 < pattern.size() ? 1 : 0;
    if (has_wanted && pattern[in_pattern + escape] == text[at]) {
      in_pattern += 1 + escape;
      ++at;
      continue;
    }
    if (retry_pattern == Text::npos) return false;
    in_pattern = retry_pattern;
    retry_at += CharacterBytes(text, retry_at);
    at = retry_at;
  }
  while (in_pattern < pattern.size() && pattern[in_pattern] == '%') ++in_pattern;
  return in_pattern == pattern.size();
}

template <bool (*test)(Text, Text)>
Status Test(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapLive<uint8_t>(call, out, [&](int64_t row, uint8_t* result) {
    *result = test(in[0].At<Text>(row), in[1].At<Text>(row)) ? 1 : 0;
    return Status::OK();
  });
}

template <bool (*test)(Text, Text)>
Function TestFunction(std::string name, std::string doc, std::string example, std::string result) {
  std::string signature = name + "(text, part)";
  return {.name = std::move(name),
          .signature = std::move(signature),
          .doc = std::move(doc),
          .example = std::move(example),
          .result = std::move(result),
          .overloads = {{{kTextType, kTextType}, kBoolType, Test<test>}}};
}

}  // namespace

FunctionFamily TextFunctions() {
  std::vector<Overload> lengths = ListLengthOverloads();
  lengths.insert(lengths.begin(), {{kTextType}, kIntType, Length});
  FunctionFamily family{
      .title = "Texts",
      .doc = "Texts are UTF-8; positions and lengths count characters (code points), not bytes.",
      .functions = {
          {.name = "lower",
           .signature = "lower(text)",
           .doc = "In lower case: ASCII, Latin-1, Latin Extended-A, Greek and Cyrillic letters. "
                  "The same on every "
                  "machine.",
           .example = "lower('Straße ÄÖ')",
           .result = "straße äö",
           .overloads = {{{kTextType}, kTextType, MapCase<LowerUtf8>}}},
          {.name = "upper",
           .signature = "upper(text)",
           .doc = "In upper case, for the same letters.",
           .example = "upper('abc é')",
           .result = "ABC É",
           .overloads = {{{kTextType}, kTextType, MapCase<UpperUtf8>}}},
          {.name = "trim",
           .signature = "trim(text)",
           .doc = "Without the ASCII white space at both ends.",
           .example = "trim('  a b ')",
           .result = "a b",
           .overloads = {{{kTextType}, kTextType, TrimText}}},
          {.name = "length",
           .signature = "length(a)",
           .doc =
               "The number of characters of a text, or of elements of a list (null elements too).",
           .example = "length('naïve')",
           .result = "5",
           .overloads = std::move(lengths)},
          {.name = "substr",
           .signature = "substr(text, start[, length])",
           .doc = "The characters from start, which counts from 1, or from the end when negative; "
                  "at most length of "
                  "them.",
           .example = "substr('gnomon', -3, 2)",
           .result = "mo",
           .overloads = {{{kTextType, kIntType}, kTextType, Substr},
                         {{kTextType, kIntType, kIntType}, kTextType, Substr}}},
          {.name = "concat",
           .signature = "concat(a, ...)",
           .doc = "The texts joined. Arguments of other types are cast to string.",
           .example = "concat('store-', 7)",
           .result = "store-7",
           .overloads = {{.parameters = {kTextType},
                          .result = kTextType,
                          .kernel = ConcatTexts,
                          .variadic = true}}},
      }};
  std::vector<Function>& rows = family.functions;
  rows.push_back(TestFunction<Contains>("contains", "Does the text contain the part?",
                                        "contains('abc', 'bc')", "true"));
  rows.push_back(TestFunction<StartsWith>("starts_with", "Does the text begin with the part?",
                                          "starts_with('abc', 'bc')", "false"));
  rows.push_back(TestFunction<EndsWith>("ends_with", "Does the text end with the part?",
                                        "ends_with('abc', 'bc')", "true"));
  Function like = TestFunction<Like>("like",
                                     "Does the whole text match the pattern? In it, % stands for "
                                     "any characters, _ for one, and a backslash "
                                     "makes the next character literal.",
                                     "'A12' like 'A%'", "true");
  like.signature = "text [not] like pattern";
  rows.push_back(std::move(like));
  return family;
}

}  // namespace gnomon::expr
