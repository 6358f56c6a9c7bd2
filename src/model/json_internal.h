#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"

/// Members of a JSON object that somebody may have damaged: what is missing or of another type is
/// kDataLoss. The library's exceptions are never raised.
namespace gnomon::model {

using Json = nlohmann::ordered_json;

inline Status JsonError(std::string_view key, std::string_view expected) {
  return Error(ErrorKind::kDataLoss, "member ", Quoted(key), " is not ", expected);
}

inline Result<Json> ParseJson(std::string_view text) {
  Json value = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) return Error(ErrorKind::kDataLoss, "not a JSON document");
  return value;
}

/// Text for a file; bytes that are no UTF-8 are replaced.
inline std::string FormatJson(const Json& value) {
  return value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

/// The member, or null when it is absent or `object` is none.
inline const Json& MemberOf(const Json& object, const char* key) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

inline Result<std::string> TextOf(const Json& object, const char* key) {
  const Json& value = MemberOf(object, key);
  if (!value.is_string()) return JsonError(key, "a text");
  return value.get<std::string>();
}

inline Result<double> NumberOf(const Json& object, const char* key) {
  const Json& value = MemberOf(object, key);
  if (!value.is_number() || !std::isfinite(value.get<double>()))
    return JsonError(key, "a finite number");
  return value.get<double>();
}

inline Result<bool> BoolOf(const Json& object, const char* key) {
  const Json& value = MemberOf(object, key);
  if (!value.is_boolean()) return JsonError(key, "true or false");
  return value.get<bool>();
}

inline Result<int64_t> IntegerOf(const Json& value, std::string_view key) {
  if (value.is_number_unsigned() &&
      value.get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()}) {
    return JsonError(key, "an integer of 64 bits");
  }
  if (!value.is_number_integer()) return JsonError(key, "an integer");
  return value.get<int64_t>();
}

inline Result<std::vector<int64_t>> IntegersOf(const Json& object, const char* key) {
  const Json& values = MemberOf(object, key);
  if (!values.is_array()) return JsonError(key, "a list of integers");
  std::vector<int64_t> integers;
  for (const Json& value : values) {
    GNOMON_ASSIGN_OR_RETURN(const int64_t integer, IntegerOf(value, key));
    integers.push_back(integer);
  }
  return integers;
}

inline Result<std::vector<std::string>> TextsOf(const Json& object, const char* key) {
  const Json& values = MemberOf(object, key);
  if (!values.is_array()) return JsonError(key, "a list of texts");
  std::vector<std::string> texts;
  for (const Json& value : values) {
    if (!value.is_string()) return JsonError(key, "a list of texts");
    texts.push_back(value.get<std::string>());
  }
  return texts;
}

}  // namespace gnomon::model
