#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "net/http.h"

/// Incremental HTTP/1 parsers over Boost.Beast's, which is visible in http_parser.cc only. Not
/// thread-safe.
namespace gnomon::net {

enum class ParseState {
  kHead,      ///< start line and fields are not complete
  kBody,      ///< the head is complete and valid, the body is not
  kComplete,  ///< the whole message is there
  kFailed,    ///< see failure(); nothing more can be parsed
};

struct ParseFailure {
  int status = 400;  ///< what a server answers
  std::string message;
};

/// Parses requests one after the other. Views are valid until the next Reset.
class RequestParser {
 public:
  RequestParser(size_t max_header_bytes, size_t max_body_bytes);
  ~RequestParser();
  RequestParser(RequestParser&&) noexcept;

  /// Begins the next request; frees the memory of a large body.
  void Reset();
  /// Takes bytes and returns how many were consumed; what was not has to be presented again
  /// together with more. Never consumes bytes of the next request.
  size_t Put(std::string_view data);

  ParseState state() const;
  const ParseFailure& failure() const;

  // From kBody on.
  std::string_view method() const;
  std::string_view raw_path() const;
  std::string_view path() const;  ///< decoded
  std::string_view query() const;
  std::span<const HttpField> fields() const;
  bool keep_alive() const;
  bool http_1_0() const;
  bool expects_continue() const;

  // With kComplete.
  std::string_view body() const;  ///< kBodyPadding readable bytes follow

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Parses one response; 1xx responses are separate messages, and the caller skips them.
class ResponseParser {
 public:
  /// `head_request`: there is no body whatever the fields say.
  ResponseParser(size_t max_header_bytes, size_t max_body_bytes, bool head_request);
  ~ResponseParser();
  ResponseParser(ResponseParser&&) noexcept;
  ResponseParser& operator=(ResponseParser&&) noexcept;

  size_t Put(std::string_view data);
  /// The peer closed: completes a body that ends there, else fails.
  void PutEnd();

  ParseState state() const;
  /// Its status is 413 when the body is too long.
  const ParseFailure& failure() const;
  int status() const;
  std::span<const HttpField> fields() const;
  bool keep_alive() const;
  std::string TakeBody();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gnomon::net
