#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <unistd.h>
#include <utility>

#include <arrow/util/utf8.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/text.h"
#include "base/time.h"
#include "feature/registry/registry_job_internal.h"

namespace gnomon::feature {

namespace {

constexpr std::array<const char*, 5> kJobStates = {"running", "succeeded", "failed", "cancelled",
                                                   "interrupted"};

// A text that protobuf takes: bytes that are no UTF-8 become '?'.
std::string Printable(const std::string& text) {
  arrow::util::InitializeUTF8();
  if (arrow::util::ValidateUTF8(text)) return text;
  std::string copy = text;
  std::ranges::replace_if(
      copy, [](char c) { return static_cast<unsigned char>(c) >= 0x80; }, '?');
  return copy;
}

std::string LinkTarget(const char* path) {
  std::array<char, 128> target = {};
  const ssize_t size = ::readlink(path, target.data(), target.size());
  return size > 0 ? std::string(target.data(), static_cast<size_t>(size)) : std::string();
}

// When a process began, field 22 of /proc/<pid>/stat; absent without such a process. The second
// field, a name in parentheses, may hold spaces.
std::optional<int64_t> StartOfProcess(int64_t process) {
  const auto stat = ReadFile(Concat("/proc/", process, "/stat"));
  if (!stat.ok()) return std::nullopt;
  const size_t name_end = stat->rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  const std::vector<std::string> fields =
      Split(std::string_view(*stat).substr(std::min(name_end + 2, stat->size())), ' ');
  constexpr size_t kState = 0;
  constexpr size_t kStart = 19;
  if (fields.size() <= kStart || fields[kState] == "Z") return std::nullopt;
  int64_t start = 0;
  const std::string& text = fields[kStart];
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), start);
  return parsed.ec == std::errc() ? std::optional(start) : std::nullopt;
}

// A job whose process cannot be seen from here is believed as long as it writes to the registry.
void FindInterruption(MaterializationJob* job) {
  const std::optional<bool> alive = job->owner.IsAlive();
  if (alive == true) return;
  const int64_t silence = RealClock().NowMicros() - job->updated;
  if (!alive && silence < kJobSilence) return;
  job->state = JobState::kInterrupted;
  job->error = alive ? std::string("the process that ran it is gone")
                     : Concat("nothing was heard of process ", job->owner.process, " on ",
                              job->owner.host, " since ", FormatTimestamp(job->updated));
}

}  // namespace

const char* NameOf(JobState state) { return kJobStates.at(static_cast<size_t>(state)); }

Result<JobState> ParseJobState(std::string_view text) {
  const auto found = std::ranges::find(kJobStates, text);
  if (found != kJobStates.end()) return static_cast<JobState>(found - kJobStates.begin());
  const std::vector<std::string> names(kJobStates.begin(), kJobStates.end());
  return MakeError(ErrorKind::kUser, Concat("no such state of a job: ", Quoted(text)), {},
                   Concat("states: ", Join(names, ", ")));
}

JobOwner JobOwner::ThisProcess() {
  JobOwner owner;
  std::array<char, 256> host = {};
  if (::gethostname(host.data(), host.size() - 1) == 0) owner.host = Printable(host.data());
  const auto boot = ReadFile("/proc/sys/kernel/random/boot_id");
  owner.boot =
      Concat(boot.ok() ? Trim(*boot) : std::string_view(), " ", LinkTarget("/proc/self/ns/pid"));
  owner.process = ::getpid();
  owner.process_start = StartOfProcess(owner.process).value_or(0);
  return owner;
}

std::optional<bool> JobOwner::IsAlive() const {
  if (process == 0) return std::nullopt;
  const JobOwner here = ThisProcess();
  if (host != here.host || boot != here.boot) return std::nullopt;
  return StartOfProcess(process) == process_start;
}

void WriteJob(const MaterializationJob& job, gnomon::proto::SideJob* message) {
  message->Clear();
  message->set_id(job.id);
  for (const std::string& view : job.views) message->add_views(view);
  message->set_start(job.interval.start);
  message->set_end(job.interval.end);
  message->set_state(static_cast<int32_t>(job.state));
  message->set_rows(job.rows);
  message->set_failed_rows(job.failed_rows);
  message->set_skipped_rows(job.skipped_rows);
  message->set_started(job.started);
  message->set_finished(job.finished);
  message->set_error(Printable(job.error));
  for (const ViewProgress& each : job.progress) {
    auto* progress = message->add_progress();
    progress->set_view(each.view);
    progress->set_start(each.interval.start);
    progress->set_end(each.interval.end);
    progress->set_done(each.done);
    progress->set_rows(each.rows);
    progress->set_source(Printable(each.source));
  }
  auto* owner = message->mutable_owner();
  owner->set_host(job.owner.host);
  owner->set_boot(job.owner.boot);
  owner->set_process(job.owner.process);
  owner->set_process_start(job.owner.process_start);
  message->set_cancel_requested(job.cancel_requested);
  message->set_resumed(job.resumed);
  message->set_updated(job.updated);
}

MaterializationJob ReadJob(const gnomon::proto::SideJob& message) {
  MaterializationJob job;
  job.id = message.id();
  job.views.assign(message.views().begin(), message.views().end());
  job.interval = {message.start(), message.end()};
  const bool known = message.state() >= 0 && message.state() < static_cast<int>(kJobStates.size());
  job.state = known ? static_cast<JobState>(message.state()) : JobState::kFailed;
  job.rows = message.rows();
  job.failed_rows = message.failed_rows();
  job.skipped_rows = message.skipped_rows();
  job.started = message.started();
  job.finished = message.finished();
  job.error = message.error();
  for (const auto& each : message.progress()) {
    job.progress.push_back(
        {each.view(), {each.start(), each.end()}, each.done(), each.rows(), each.source()});
  }
  const auto& owner = message.owner();
  job.owner = {owner.host(), owner.boot(), owner.process(), owner.process_start()};
  job.cancel_requested = message.cancel_requested();
  job.resumed = message.resumed();
  job.updated = message.updated();
  if (job.state == JobState::kRunning) FindInterruption(&job);
  return job;
}

}  // namespace gnomon::feature
