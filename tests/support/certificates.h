#pragma once

#include <string>
#include <vector>

namespace gnomon::test {

struct CertificateOptions {
  std::string names = "DNS:localhost";  ///< OpenSSL's subjectAltName
  int days = 2;                         ///< that it is good for; -1: it has expired
};

/// A certificate authority of a test's own, made by the program openssl. Ends the test case when
/// that fails.
class Authority {
 public:
  /// Keeps ca.crt and ca.key in `folder`.
  explicit Authority(std::string folder);
  std::string certificate() const { return folder_ + "/ca.crt"; }

  /// `folder` gets server.key and server.crt.
  void SignServer(const std::string& folder, const CertificateOptions& options = {}) const;

 private:
  std::string folder_;
};

}  // namespace gnomon::test
