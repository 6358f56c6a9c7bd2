#include "tests/support/status.h"

namespace gnomon::test {

void RequireOk(const Status& status) {
  if (!status.ok()) FAIL(FormatError(status));
}

Status RequireError(const Status& status) {
  if (status.ok()) FAIL("expected an error, got OK");
  return status;
}

std::string ErrorMismatch(const Status& status, ErrorKind kind, std::string_view part) {
  if (status.ok()) return Concat("expected ", NameOf(kind), " with ", Quoted(part), ", got OK");
  const std::string text = FormatError(status);
  if (KindOf(status) == kind && text.find(part) != std::string::npos) return {};
  return Concat("expected ", NameOf(kind), " with ", Quoted(part), ", got ", NameOf(KindOf(status)),
                ": ", text);
}

}  // namespace gnomon::test
