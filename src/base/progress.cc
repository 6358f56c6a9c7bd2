#include "base/progress.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <unistd.h>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/text.h"
#include "base/time.h"

namespace gnomon {

namespace {

constexpr double kSecondsBetweenDrawings = 0.1;
constexpr int64_t kBarWidth = 24;

void WriteQuietly(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    text.remove_prefix(static_cast<size_t>(written));
  }
}

// "1,234,567"
std::string Grouped(int64_t number) {
  std::string out = Concat(number);
  const size_t first = number < 0 ? 1 : 0;
  for (size_t place = out.size(); place > first + 3;) {
    place -= 3;
    out.insert(place, ",");
  }
  return out;
}

class TextProgress : public Progress {
 public:
  TextProgress(int fd, bool is_terminal) : fd_(fd), is_terminal_(is_terminal) {}

  ~TextProgress() override {
    if (is_terminal_ && drawn_) WriteQuietly(fd_, "\r\x1b[K");
  }

  void Begin(std::string_view phase, int64_t total, std::string_view unit) override {
    const MutexLock lock(mutex_);
    phases_.push_back({std::string(phase), std::string(unit), total, 0, MonotonicSeconds()});
    if (is_terminal_) Draw(phases_.back());
  }

  void Advance(int64_t delta) override {
    const MutexLock lock(mutex_);
    if (phases_.empty()) return;
    phases_.back().done += delta;
    if (is_terminal_ && MonotonicSeconds() - drawn_at_ >= kSecondsBetweenDrawings) {
      Draw(phases_.back());
    }
  }

  void End(std::string_view note) override {
    const MutexLock lock(mutex_);
    if (phases_.empty()) return;
    const Phase phase = std::move(phases_.back());
    phases_.pop_back();
    std::string line = is_terminal_ ? "\r\x1b[K" : "";
    line += Concat(phase.name, ": ");
    if (phase.done > 0) line += Concat(Grouped(phase.done), ' ', phase.unit, " in ");
    line += FormatSeconds(MonotonicSeconds() - phase.begun_at);
    if (!note.empty()) line += Concat(" (", note, ")");
    WriteQuietly(fd_, line + '\n');
    drawn_ = false;
  }

 private:
  struct Phase {
    std::string name;
    std::string unit;
    int64_t total;
    int64_t done;
    double begun_at;
  };

  void Draw(const Phase& phase) GNOMON_REQUIRES(mutex_) {
    drawn_at_ = MonotonicSeconds();
    drawn_ = true;
    std::string line = Concat("\r\x1b[K", phase.name, ' ');
    if (phase.total > 0) {
      const int64_t done = std::clamp<int64_t>(phase.done, 0, phase.total);
      const double share = static_cast<double>(done) / static_cast<double>(phase.total);
      const auto filled = static_cast<size_t>(share * static_cast<double>(kBarWidth));
      line += '[';
      line.append(filled, '#');
      line.append(static_cast<size_t>(kBarWidth) - filled, '.');
      line += Concat("] ", static_cast<int64_t>(share * 100), "% ", Grouped(phase.done), '/',
                     Grouped(phase.total), ' ', phase.unit);
    } else {
      line += Concat(Grouped(phase.done), ' ', phase.unit);
    }
    line += Concat(' ', FormatSeconds(drawn_at_ - phase.begun_at));
    WriteQuietly(fd_, line);
  }

  const int fd_;
  const bool is_terminal_;
  Mutex mutex_;
  std::vector<Phase> phases_ GNOMON_GUARDED_BY(mutex_);  // the innermost is the last
  double drawn_at_ GNOMON_GUARDED_BY(mutex_) = 0;
  bool drawn_ GNOMON_GUARDED_BY(mutex_) = false;
};

}  // namespace

std::unique_ptr<Progress> MakeTerminalProgress() {
  return MakeProgress(STDERR_FILENO, ::isatty(STDERR_FILENO) == 1);
}

std::unique_ptr<Progress> MakeProgress(int fd, bool is_terminal) {
  return std::make_unique<TextProgress>(fd, is_terminal);
}

ProgressPhase::ProgressPhase(Progress* progress, std::string_view phase, int64_t total,
                             std::string_view unit)
    : progress_(progress) {
  if (progress_ != nullptr) progress_->Begin(phase, total, unit);
}

ProgressPhase::~ProgressPhase() {
  if (progress_ != nullptr) progress_->End(note_);
}

void ProgressPhase::Advance(int64_t delta) {
  if (progress_ != nullptr) progress_->Advance(delta);
}

}  // namespace gnomon
