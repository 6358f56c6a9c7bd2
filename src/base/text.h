#pragma once

#include <concepts>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gnomon {

namespace text_internal {
inline void Append(std::string* out, std::string_view part) { out->append(part); }
inline void Append(std::string* out, char part) { out->push_back(part); }
// A template, so that a pointer never converts to bool.
template <std::same_as<bool> T>
void Append(std::string* out, T part) {
  out->append(part ? "true" : "false");
}
void Append(std::string* out, double part);
template <std::integral T>
  requires(!std::same_as<T, char> && !std::same_as<T, bool>)
void Append(std::string* out, T part) {
  out->append(std::to_string(part));
}
}  // namespace text_internal

/// Joins its arguments (strings, numbers, booleans) into one string. Doubles are written in the
/// shortest form that reads back to the same value.
template <typename... Parts>
std::string Concat(const Parts&... parts) {
  std::string out;
  (text_internal::Append(&out, parts), ...);
  return out;
}

/// Joins `parts` with `separator` between them.
std::string Join(std::span<const std::string> parts, std::string_view separator);

/// Splits at every `separator`; "a,,b" gives three parts, "" gives one empty part.
std::vector<std::string> Split(std::string_view text, char separator);

/// Removes ASCII white space at both ends.
std::string_view Trim(std::string_view text);

/// Lower-cases ASCII letters.
std::string ToLower(std::string_view text);

/// Quotes with single quotes for messages.
std::string Quoted(std::string_view text);

/// The candidate with the smallest edit distance (Damerau-Levenshtein, optimal string alignment) to
/// `name`, or an empty string when none is nearer than a third of the name's length (at least 2).
/// Case is ignored.
std::string NearestName(std::string_view name, std::span<const std::string> candidates);

/// "did you mean 'x'?" for NearestName, or an empty string: made to be an error's hint.
std::string DidYouMean(std::string_view name, std::span<const std::string> candidates);

}  // namespace gnomon
