#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "base/mutex.h"

struct ssl_ctx_st;
struct ssl_st;

namespace gnomon::feature::internal {

struct RedisTlsOptions {
  std::string ca_file = {};           ///< PEM; empty: the authorities that the system trusts
  std::string certificate_file = {};  ///< our own, with its chain; empty: none
  std::string key_file = {};          ///< its key
  bool verify = true;                 ///< the server's certificate has to be trusted
  bool check_host = true;             ///< and be one for its name or address; only with verify
};

struct TlsSessionDeleter {
  void operator()(ssl_st* session) const;
};
using TlsSession = std::unique_ptr<ssl_st, TlsSessionDeleter>;

/// What all TLS connections of a store share. The files are read when the first of them is made.
/// Thread-safe.
class RedisTls {
 public:
  explicit RedisTls(RedisTlsOptions options) : options_(std::move(options)) {}

  /// A session over a connected, non-blocking descriptor, which it borrows: SSL_connect comes next.
  /// kUser when a file of the options cannot be used.
  Result<TlsSession> MakeSession(int descriptor, const std::string& host);

  /// What kept a session from going on, said so that one knows what to change: of a call that
  /// returned `result` and wants neither to read nor to write.
  static Status Failure(ssl_st* session, int result, const std::string& place);

 private:
  struct ContextDeleter {
    void operator()(ssl_ctx_st* context) const;
  };
  using TlsContext = std::unique_ptr<ssl_ctx_st, ContextDeleter>;
  Result<TlsContext> MakeContext() const;

  const RedisTlsOptions options_;
  Mutex mutex_;
  TlsContext context_ GNOMON_GUARDED_BY(mutex_);
};

}  // namespace gnomon::feature::internal
