// Replays one fuzz harness over its corpus and over seeded mutations of it, with the words of its
// dictionary. Compiled once per harness: cmake/GnomonFuzz.cmake.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "tests/support/status.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace gnomon::test {

namespace {

constexpr size_t kLongestInput = 16384;

// GNOMON_FUZZ_LAST in the environment names a file that keeps the last input, also after a crash.
void Run(const std::string& input) {
  static const char* const kLast = std::getenv("GNOMON_FUZZ_LAST");
  if (kLast != nullptr) std::ofstream(kLast, std::ios::binary) << input;
  CAPTURE(input);
  CHECK(LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size()) == 0);
}

std::vector<std::string> Corpus() {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator("fuzz/corpus/" GNOMON_FUZZ_HARNESS))
    paths.push_back(entry.path().string());
  std::ranges::sort(paths);
  std::vector<std::string> corpus;
  for (const std::string& path : paths) corpus.push_back(ValueOf(ReadFile(path)));
  return corpus;
}

// The text between the quotes of a dictionary's line: \\, \" and \xAB.
std::string Unescaped(std::string_view text) {
  std::string word;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      word.push_back(text[i]);
    } else if (text[i + 1] == 'x') {
      word.push_back(static_cast<char>(std::stoi(std::string(text.substr(i + 2, 2)), nullptr, 16)));
      i += 3;
    } else {
      word.push_back(text[++i]);
    }
  }
  return word;
}

std::vector<std::string> Dictionary() {
  const std::string path = "fuzz/" GNOMON_FUZZ_HARNESS ".dict";
  std::vector<std::string> words;
  if (!std::filesystem::exists(path)) return words;
  for (const std::string& line : Split(ValueOf(ReadFile(path)), '\n')) {
    const size_t begin = line.find('"');
    if (line.starts_with('#') || begin == std::string::npos) continue;
    words.push_back(
        Unescaped(std::string_view(line).substr(begin + 1, line.rfind('"') - begin - 1)));
  }
  return words;
}

class Mutator {
 public:
  Mutator(std::vector<std::string> corpus, std::vector<std::string> words, uint64_t seed)
      : corpus_(std::move(corpus)), words_(std::move(words)), random_(seed) {}

  std::string Next() {
    std::string input = corpus_[Below(corpus_.size())];
    for (size_t edits = 1 + Below(4); edits > 0; --edits) Edit(&input);
    input.resize(std::min(input.size(), kLongestInput));
    return input;
  }

 private:
  size_t Below(size_t limit) { return limit == 0 ? 0 : static_cast<size_t>(random_() % limit); }

  void Edit(std::string* input) {
    const size_t at = Below(input->size() + 1);
    switch (Below(8)) {
      case 0:
        if (!words_.empty()) input->insert(at, words_[Below(words_.size())]);
        break;
      case 1:
        input->erase(at, 1 + Below(8));
        break;
      case 2:
        if (at < input->size()) (*input)[at] = static_cast<char>(random_());
        break;
      case 3:
        input->insert(at, PieceOf(corpus_[Below(corpus_.size())]));
        break;
      case 4:
        input->insert(at, input->substr(at, 1 + Below(8)));
        break;
      case 5:
        EditLines(input);
        break;
      case 6:
        EditNumber(input, at);
        break;
      default:
        if (Below(8) == 0) input->resize(at);
        if (at < input->size()) (*input)[at] = static_cast<char>((*input)[at] ^ (1 << Below(8)));
        break;
    }
  }

  std::string PieceOf(const std::string& other) {
    const size_t begin = Below(other.size());
    return other.substr(begin, 1 + Below(std::min<size_t>(other.size() - begin, 64)));
  }

  // Drops, repeats or swaps whole lines, which keeps more of a text valid.
  void EditLines(std::string* input) {
    std::vector<std::string> lines = Split(*input, '\n');
    const auto from = static_cast<std::ptrdiff_t>(Below(lines.size()));
    const size_t to = Below(lines.size());
    switch (Below(3)) {
      case 0:
        lines.erase(lines.begin() + from);
        break;
      case 1: {
        const std::string line = lines[to];
        lines.insert(lines.begin() + from, line);
        break;
      }
      default:
        std::swap(lines[static_cast<size_t>(from)], lines[to]);
        break;
    }
    *input = Join(lines, "\n");
  }

  // Overwrites a length, an offset or a count with one of the values that hurt.
  void EditNumber(std::string* input, size_t at) {
    constexpr std::array<uint64_t, 8> kValues = {
        0, 1, 0x7F, 0xFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, ~uint64_t{0}};
    const uint64_t value = kValues[Below(kValues.size())];
    const size_t width = size_t{1} << Below(4);
    for (size_t i = 0; i < width && at + i < input->size(); ++i)
      (*input)[at + i] = static_cast<char>(value >> (8 * i));
  }

  const std::vector<std::string> corpus_;
  const std::vector<std::string> words_;
  std::mt19937_64 random_;
};

// GNOMON_FUZZ_MUTATIONS in the environment asks for a longer search where there is no libFuzzer.
int NumMutations() {
  const char* wanted = std::getenv("GNOMON_FUZZ_MUTATIONS");
  return wanted == nullptr ? GNOMON_FUZZ_MUTATIONS : std::stoi(wanted);
}

}  // namespace

TEST_CASE("the fuzz harness " GNOMON_FUZZ_HARNESS " survives its corpus and mutations of it") {
  ConfigureLogging({.level = LogLevel::kOff});
  const std::vector<std::string> corpus = Corpus();
  REQUIRE(!corpus.empty());
  for (const std::string& input : corpus) Run(input);
  constexpr uint64_t kSeed = 20240229;
  Mutator mutator(corpus, Dictionary(), kSeed);
  const int num_mutations = NumMutations();
  for (int i = 0; i < num_mutations; ++i) Run(mutator.Next());
  ConfigureLogging({});
}

}  // namespace gnomon::test
