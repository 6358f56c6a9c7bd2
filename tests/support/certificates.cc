#include "tests/support/certificates.h"

#include <utility>

#include <doctest/doctest.h>

#include "base/files.h"
#include "base/text.h"
#include "tests/support/process.h"
#include "tests/support/status.h"

namespace gnomon::test {
namespace {

void RunOpenSsl(std::vector<std::string> words) {
  words.insert(words.begin(), "openssl");
  const auto done = RunCommand(words);
  if (done.exit_code != 0) FAIL(Concat("openssl (apt-get install openssl) failed: ", done.err));
}

/// A new key of an elliptic curve, which is made faster than RSA's.
const std::vector<std::string> kNewKey = {
    "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"};

}  // namespace

Authority::Authority(std::string folder) : folder_(std::move(folder)) {
  std::vector<std::string> words = kNewKey;
  words.insert(words.end(), {"-x509", "-days", "2", "-subj", "/CN=test authority", "-keyout",
                             folder_ + "/ca.key", "-out", certificate()});
  RunOpenSsl(std::move(words));
}

void Authority::SignServer(const std::string& folder, const CertificateOptions& options) const {
  const std::string request = folder_ + "/server.csr";
  const std::string names = folder_ + "/names";
  RequireOk(WriteFileAtomic(names, Concat("subjectAltName=", options.names, "\n")));
  std::vector<std::string> words = kNewKey;
  words.insert(words.end(),
               {"-subj", "/CN=server", "-keyout", folder + "/server.key", "-out", request});
  RunOpenSsl(std::move(words));
  RunOpenSsl({"x509", "-req", "-days", Concat(options.days), "-in", request, "-CA", certificate(),
              "-CAkey", folder_ + "/ca.key", "-CAcreateserial", "-extfile", names, "-out",
              folder + "/server.crt"});
}

}  // namespace gnomon::test
