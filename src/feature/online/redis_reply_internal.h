#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

struct redisReply;

namespace gnomon::feature::internal {

/// One answer of the server. Views live as long as the answer that began them.
class RedisReply {
 public:
  RedisReply() = default;
  explicit RedisReply(redisReply* reply);

  bool is_nil() const;
  bool is_array() const;
  /// Of a text answer; absent for anything else.
  bool HasText() const;
  std::string_view Text() const;
  /// Of a value; absent for anything else.
  std::optional<std::string_view> OptionalText() const;
  int64_t Integer() const;  ///< 0 when it is no number
  /// Of an array; 0 for anything else.
  size_t size() const;
  /// An element of an array, which shares the answer.
  RedisReply At(size_t index) const;
  /// The text of an element, absent where it is none: At without its cost, for many elements.
  std::optional<std::string_view> TextAt(size_t index) const;
  /// The text of an error that the server answered; empty for other answers.
  std::string_view ErrorText() const;
  /// An error that the server answered, as one of ours; OK for other answers.
  Status ToStatus(const std::string& place) const;

 private:
  std::shared_ptr<redisReply> owner_;
  const redisReply* reply_ = nullptr;
};

}  // namespace gnomon::feature::internal
