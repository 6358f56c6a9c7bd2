#include "base/log.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>

#include "base/text.h"

namespace gnomon {

namespace {

struct LevelName {
  std::string_view name;
  LogLevel level;
};

constexpr std::array<LevelName, 6> kLevelNames = {{
    {"debug", LogLevel::kDebug},
    {"info", LogLevel::kInfo},
    {"warning", LogLevel::kWarning},
    {"warn", LogLevel::kWarning},
    {"error", LogLevel::kError},
    {"off", LogLevel::kOff},
}};

// The message follows as "module: text" or as the rest of the JSON object.
constexpr char kTextPattern[] = "%Y-%m-%dT%H:%M:%S.%eZ %l %v";
constexpr char kJsonPattern[] = R"({"ts":"%Y-%m-%dT%H:%M:%S.%fZ","level":"%l",%v})";

spdlog::level::level_enum SpdlogLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kOff:
      break;
  }
  return spdlog::level::off;
}

std::unique_ptr<spdlog::formatter> MakeFormatter(const char* pattern) {
  return std::make_unique<spdlog::pattern_formatter>(pattern, spdlog::pattern_time_type::utc);
}

struct Logging {
  Logging() : logger("gnomon", std::make_shared<spdlog::sinks::stderr_sink_mt>()) {
    logger.set_formatter(MakeFormatter(kTextPattern));
    logger.set_level(spdlog::level::warn);
  }

  spdlog::logger logger;
  std::atomic<bool> json{false};
};

Logging& TheLogging() {
  // Never destroyed: other threads may log while the process ends.
  static Logging& logging = *std::make_unique<Logging>().release();
  return logging;
}

// The length of the valid UTF-8 sequence at the beginning of `text` (not empty), 0 when there is
// none.
size_t Utf8Length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, and what lies past U+10FFFF.
  if (first == 0xe0 && byte(1) < 0xa0) return 0;
  if (first == 0xed && byte(1) > 0x9f) return 0;
  if (first == 0xf0 && byte(1) < 0x90) return 0;
  if (first == 0xf4 && byte(1) > 0x8f) return 0;
  return length;
}

// Appends `text` with JSON's escapes; what is no UTF-8 becomes U+FFFD. Keeps a line of text one
// line, too.
void AppendEscaped(std::string* out, std::string_view text, bool json) {
  constexpr char kHexDigits[] = "0123456789abcdef";
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    const char letter = text.front();
    if (length == 0) {
      out->append("\xef\xbf\xbd");
    } else if (letter == '\n') {
      out->append("\\n");
    } else if (letter == '\r') {
      out->append("\\r");
    } else if (letter == '\t') {
      out->append("\\t");
    } else if (json && (letter == '"' || letter == '\\')) {
      out->push_back('\\');
      out->push_back(letter);
    } else if (length == 1 && (static_cast<unsigned char>(letter) < 0x20 || letter == 0x7f)) {
      out->append("\\u00");
      out->push_back(kHexDigits[letter >> 4]);
      out->push_back(kHexDigits[letter & 15]);
    } else {
      out->append(text.substr(0, length));
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
}

void AppendJsonMember(std::string* out, std::string_view key, std::string_view value) {
  out->push_back('"');
  AppendEscaped(out, key, true);
  out->append("\":\"");
  AppendEscaped(out, value, true);
  out->push_back('"');
}

std::string JsonMembers(std::string_view module, std::string_view message, LogFields fields) {
  std::string out;
  AppendJsonMember(&out, "module", module);
  out.push_back(',');
  AppendJsonMember(&out, "message", message);
  for (const auto& [key, value] : fields) {
    out.push_back(',');
    AppendJsonMember(&out, key, value);
  }
  return out;
}

std::string TextLine(std::string_view module, std::string_view message, LogFields fields) {
  std::string out;
  AppendEscaped(&out, module, false);
  out.append(": ");
  AppendEscaped(&out, message, false);
  for (const auto& [key, value] : fields) {
    out.push_back(' ');
    AppendEscaped(&out, key, false);
    out.push_back('=');
    const bool quoted = value.empty() || value.find_first_of(" =\"") != std::string_view::npos;
    if (quoted) out.push_back('"');
    AppendEscaped(&out, value, quoted);
    if (quoted) out.push_back('"');
  }
  return out;
}

}  // namespace

Result<LogLevel> ParseLogLevel(std::string_view text) {
  const std::string lower = ToLower(Trim(text));
  for (const LevelName& candidate : kLevelNames) {
    if (candidate.name == lower) return candidate.level;
  }
  return MakeError(ErrorKind::kUser, Concat("unknown log level: ", Quoted(text)), {},
                   "levels: debug, info, warning, error, off");
}

void ConfigureLogging(const LogOptions& options) {
  Logging& logging = TheLogging();
  logging.logger.set_level(SpdlogLevel(options.level));
  logging.logger.set_formatter(MakeFormatter(options.json ? kJsonPattern : kTextPattern));
  logging.json.store(options.json);
}

bool LogEnabled(LogLevel level) {
  return level != LogLevel::kOff && TheLogging().logger.should_log(SpdlogLevel(level));
}

void Log(LogLevel level, std::string_view module, std::string_view message, LogFields fields) {
  if (!LogEnabled(level)) return;
  Logging& logging = TheLogging();
  const std::string line = logging.json.load() ? JsonMembers(module, message, fields)
                                               : TextLine(module, message, fields);
  logging.logger.log(SpdlogLevel(level), spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace gnomon
