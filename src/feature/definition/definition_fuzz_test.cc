// Replays the fuzz target over its corpus, and over seeded mutations of it.

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "base/files.h"
#include "base/log.h"
#include "tests/support/status.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace gnomon::feature {

namespace {

void Run(const std::string& input) {
  CAPTURE(input);
  CHECK(LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size()) == 0);
}

std::vector<std::string> Corpus() {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator("fuzz/corpus/definitions")) {
    paths.push_back(entry.path().string());
  }
  std::ranges::sort(paths);
  std::vector<std::string> corpus;
  for (const std::string& path : paths) corpus.push_back(test::ValueOf(ReadFile(path)));
  return corpus;
}

std::vector<std::string> Lines(const std::string& text) { return Split(text, '\n'); }

// Changes bytes, or drops, repeats and swaps whole lines, which keeps more of the YAML valid.
std::string Mutate(const std::string& input, std::mt19937_64* random) {
  const auto below = [&](size_t limit) {
    return limit == 0 ? 0 : static_cast<size_t>((*random)() % limit);
  };
  static const std::vector<std::string> kPieces = {"[]",
                                                   "{}",
                                                   "null",
                                                   "-1",
                                                   "~",
                                                   "\"",
                                                   "'",
                                                   ":",
                                                   "- ",
                                                   "  ",
                                                   "\n",
                                                   "&a ",
                                                   "*a",
                                                   "!!x ",
                                                   "1e99",
                                                   "Int64",
                                                   "7d",
                                                   "a:b",
                                                   "true",
                                                   "\xC3\xA9",
                                                   "\xFF",
                                                   "sources",
                                                   "name",
                                                   "${X}",
                                                   "$",
                                                   "99999999999999999999",
                                                   "driver_stats",
                                                   "trip_cost",
                                                   "features",
                                                   "k",
                                                   "expression"};
  std::string text = input;
  std::vector<std::string> lines = Lines(text);
  switch (below(6)) {
    case 0:
      lines.erase(lines.begin() + static_cast<std::ptrdiff_t>(below(lines.size())));
      return Join(lines, "\n");
    case 1:
      lines.insert(lines.begin() + static_cast<std::ptrdiff_t>(below(lines.size())),
                   lines[below(lines.size())]);
      return Join(lines, "\n");
    case 2:
      std::swap(lines[below(lines.size())], lines[below(lines.size())]);
      return Join(lines, "\n");
    case 3:
      return text.insert(below(text.size() + 1), kPieces[below(kPieces.size())]);
    case 4:
      return text.erase(below(text.size()), 1 + below(8));
    default:
      if (!text.empty()) text[below(text.size())] = static_cast<char>((*random)());
      return text;
  }
}

}  // namespace

TEST_CASE("no bytes crash the readers of definitions and repositories") {
  ConfigureLogging({.level = LogLevel::kOff});
  const std::vector<std::string> corpus = Corpus();
  REQUIRE(!corpus.empty());
  for (const std::string& input : corpus) Run(input);
  constexpr uint64_t kSeed = 20240601;
  std::mt19937_64 random(kSeed);
  for (int round = 0; round < 1500; ++round) {
    std::string input = corpus[random() % corpus.size()];
    for (uint64_t edits = 1 + random() % 3; edits > 0; --edits) input = Mutate(input, &random);
    Run(input);
  }
  ConfigureLogging({});
}

}  // namespace gnomon::feature
