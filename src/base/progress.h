#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace gnomon {

/// Tells a person how far a long call is. Calls may come from any thread.
class Progress {
 public:
  virtual ~Progress() = default;
  /// A new phase begins; `total` units of work in it, 0 when unknown.
  virtual void Begin(std::string_view phase, int64_t total, std::string_view unit) = 0;
  /// `delta` more units are done.
  virtual void Advance(int64_t delta) = 0;
  /// The phase ended; `note` is shown after its name and time.
  virtual void End(std::string_view note) = 0;
};

/// On a terminal a bar that redraws itself at most ten times a second, otherwise one plain line per
/// finished phase. Writes to standard error.
std::unique_ptr<Progress> MakeTerminalProgress();
/// As above with the choice made by the caller, writing to `fd`.
std::unique_ptr<Progress> MakeProgress(int fd, bool is_terminal);

/// Ends its phase when it goes out of scope; safe with a null Progress.
class ProgressPhase {
 public:
  ProgressPhase(Progress* progress, std::string_view phase, int64_t total = 0,
                std::string_view unit = "rows");
  ~ProgressPhase();
  ProgressPhase(const ProgressPhase&) = delete;
  ProgressPhase& operator=(const ProgressPhase&) = delete;
  void Advance(int64_t delta);
  void SetNote(std::string note) { note_ = std::move(note); }

 private:
  Progress* progress_;
  std::string note_;
};

}  // namespace gnomon
