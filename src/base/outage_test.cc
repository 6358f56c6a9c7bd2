#include "base/outage.h"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "base/text.h"

namespace gnomon {
namespace {

/// What the outages of these tests are measured by.
std::atomic<double> g_now = 0;
double Now() { return g_now; }

constexpr BackOff kQuick = {.first_seconds = 0.001, .longest_seconds = 0.002, .total_seconds = 10};
constexpr int64_t kNoon = 1'767'268'800'123'456;  // 2026-01-01T12:00:00.123456Z

Status Silence() { return Error(ErrorKind::kUnavailable, "refused"); }

/// How often a read asks a server that does not answer before `answers` attempts were made.
int AttemptsOf(Outage* outage, int answers, Status* outcome) {
  int attempts = 0;
  *outcome =
      outage->Retry({}, kQuick, [&] { return ++attempts < answers ? Silence() : Status::OK(); });
  return attempts;
}

TEST_CASE("while an outage is young work is tried again, later it makes one attempt") {
  g_now = 100;
  Outage outage(Now);
  Status outcome;
  CHECK(AttemptsOf(&outage, 4, &outcome) == 4);
  CHECK(outcome.ok());

  CHECK_FALSE(outage.Note({}, Silence()).ok());
  g_now = 109.9;
  CHECK_FALSE(outage.HasLasted(10));
  CHECK(AttemptsOf(&outage, 3, &outcome) == 3);
  CHECK(outcome.ok());

  CHECK_FALSE(outage.Note({}, Silence()).ok());  // another one: its time begins anew
  g_now = 119.8;
  CHECK(AttemptsOf(&outage, 2, &outcome) == 2);
  CHECK_FALSE(outage.Note({}, Silence()).ok());
  g_now = 129.9;
  CHECK(outage.HasLasted(10));
  for (int read = 0; read < 3; ++read) {
    CHECK(AttemptsOf(&outage, 2, &outcome) == 1);
    CHECK(KindOf(outcome) == ErrorKind::kUnavailable);
  }
  CHECK(AttemptsOf(&outage, 1, &outcome) == 1);
  CHECK_FALSE(outage.HasLasted(0));
  CHECK(AttemptsOf(&outage, 5, &outcome) == 5);
}

TEST_CASE("an error says since when nobody answers") {
  g_now = 0;
  Outage outage(Now);
  FakeClock clock(kNoon);
  Context context;
  context.clock = &clock;
  CHECK(outage.Note(context, Silence()).message() == "refused");
  clock.Advance(3'600'000'000);
  g_now = 3600;
  const Status silence = outage.Note(context, Silence());
  CHECK(silence.message() == "refused (no answer since 2026-01-01T12:00:00Z)");
  CHECK(IsRetryable(silence));
  CHECK(outage.Note(context, Error(ErrorKind::kDeadline, "too late")).message() ==
        "too late (no answer since 2026-01-01T12:00:00Z)");
  CHECK(outage.Note(context, Status::OK()).ok());
  CHECK(outage.Note(context, Silence()).message() == "refused");
  clock.Advance(1'000'000);
  CHECK(outage.Note(context, Silence()).message() ==
        "refused (no answer since 2026-01-01T13:00:00Z)");
}

TEST_CASE(
    "an answer ends an outage, also one that is an error; an attempt that ended early does not") {
  Outage outage(Now);
  for (const ErrorKind kind :
       {ErrorKind::kCancelled, ErrorKind::kDeadline, ErrorKind::kExhausted}) {
    CHECK_FALSE(outage.Note({}, Error(kind, "no")).ok());
    CHECK_FALSE(outage.HasLasted(0));
  }
  CHECK_FALSE(outage.Note({}, Silence()).ok());
  for (const ErrorKind kind :
       {ErrorKind::kCancelled, ErrorKind::kDeadline, ErrorKind::kExhausted}) {
    CHECK_FALSE(outage.Note({}, Error(kind, "no")).ok());
    CHECK(outage.HasLasted(0));
  }
  const Status denied = outage.Note({}, Error(ErrorKind::kDenied, "no"));
  CHECK(denied.message() == "no");
  CHECK_FALSE(outage.HasLasted(0));
}

TEST_CASE("threads share one patience") {
  g_now = 0;
  Outage outage(Now);
  CHECK_FALSE(outage.Note({}, Silence()).ok());
  g_now = 20;
  std::atomic<int> attempts = 0;
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 4; ++thread) {
      threads.emplace_back([&] {
        for (int read = 0; read < 50; ++read) {
          const Status status = outage.Retry({}, kQuick, [&] {
            ++attempts;
            return Silence();
          });
          if (KindOf(status) != ErrorKind::kUnavailable) attempts = 1'000'000;
        }
      });
    }
  }
  CHECK(attempts == 4 * 50);
}

}  // namespace
}  // namespace gnomon
