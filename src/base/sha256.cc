#include "base/sha256.h"

#include <array>

#include <openssl/evp.h>

#include "base/error.h"

namespace gnomon {

struct Sha256::State {
  State() : context(EVP_MD_CTX_new()) { Begin(); }
  ~State() { EVP_MD_CTX_free(context); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void Begin() const {
    GNOMON_CHECK(context != nullptr && EVP_DigestInit_ex(context, EVP_sha256(), nullptr) == 1,
                 "EVP_DigestInit_ex");
  }

  EVP_MD_CTX* const context;
};

Sha256::Sha256() : state_(std::make_unique<State>()) {}
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;
Sha256::~Sha256() = default;

void Sha256::Add(std::string_view bytes) {
  GNOMON_CHECK(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1,
               "EVP_DigestUpdate");
}

std::string Sha256::Finish() {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::array<uint8_t, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  GNOMON_CHECK(EVP_DigestFinal_ex(state_->context, digest.data(), &size) == 1,
               "EVP_DigestFinal_ex");
  std::string text;
  for (size_t i = 0; i < size; ++i) {
    text.push_back(kDigits[digest[i] >> 4]);
    text.push_back(kDigits[digest[i] & 15]);
  }
  state_->Begin();
  return text;
}

}  // namespace gnomon
