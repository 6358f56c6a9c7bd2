#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"

/// Logs go to standard error only, as text or as JSON lines {ts, level, module, message,
/// request_id, job_id, ...}. Standard output is for results. Thread-safe. (spdlog stands behind it
/// and is not visible here.)
namespace gnomon {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kOff };

/// Parses debug, info, warning (warn), error, off; case is ignored (Feast writes DEBUG).
Result<LogLevel> ParseLogLevel(std::string_view text);

struct LogOptions {
  LogLevel level = LogLevel::kWarning;
  bool json = false;
};
/// Sets up logging of the process; may be called again.
void ConfigureLogging(const LogOptions& options);
bool LogEnabled(LogLevel level);

using LogFields = std::initializer_list<std::pair<std::string_view, std::string_view>>;

/// Logs one line. `module` is the folder's name; fields become JSON members or " key=value" at the
/// end of the text.
void Log(LogLevel level, std::string_view module, std::string_view message, LogFields fields = {});

inline void LogDebug(std::string_view module, std::string_view message, LogFields fields = {}) {
  Log(LogLevel::kDebug, module, message, fields);
}
inline void LogInfo(std::string_view module, std::string_view message, LogFields fields = {}) {
  Log(LogLevel::kInfo, module, message, fields);
}
inline void LogWarning(std::string_view module, std::string_view message, LogFields fields = {}) {
  Log(LogLevel::kWarning, module, message, fields);
}
inline void LogError(std::string_view module, std::string_view message, LogFields fields = {}) {
  Log(LogLevel::kError, module, message, fields);
}

}  // namespace gnomon
