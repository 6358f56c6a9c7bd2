// Replays the fuzz target over its corpus, and over seeded mutations of it.

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include <doctest/doctest.h>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

void Run(const std::string& input) {
  CAPTURE(input);
  CHECK(LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size()) == 0);
}

std::vector<std::string> Corpus() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator("fuzz/corpus/expression")) {
    paths.push_back(entry.path());
  }
  std::ranges::sort(paths);
  std::vector<std::string> corpus;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return corpus;
}

// Inserts, removes or replaces bytes, or splices another input in.
std::string Mutate(std::string input, const std::vector<std::string>& corpus,
                   std::mt19937_64* random) {
  const auto below = [&](size_t limit) {
    return limit == 0 ? 0 : static_cast<size_t>((*random)() % limit);
  };
  static const std::vector<std::string> kPieces = {"(",
                                                   ")",
                                                   "[0]",
                                                   "'",
                                                   "\"",
                                                   " and ",
                                                   " not ",
                                                   "null",
                                                   "-",
                                                   "//",
                                                   "1e308",
                                                   "9223372036854775807",
                                                   " % ",
                                                   ",",
                                                   "case ",
                                                   " end",
                                                   " is ",
                                                   " in (",
                                                   "x",
                                                   "i",
                                                   "s",
                                                   "\n",
                                                   "\xC3\xA9",
                                                   "\xFF",
                                                   "l",
                                                   "t",
                                                   "cast(",
                                                   " as int32)",
                                                   " between ",
                                                   "date '2024-02-30'",
                                                   "interval '7d'",
                                                   " like "};
  for (size_t edits = 1 + below(4); edits > 0; --edits) {
    const size_t at = below(input.size() + 1);
    switch (below(5)) {
      case 0:
        input.insert(at, kPieces[below(kPieces.size())]);
        break;
      case 1:
        input.erase(at, 1 + below(4));
        break;
      case 2:
        if (at < input.size()) input[at] = static_cast<char>((*random)());
        break;
      case 3: {
        const std::string& other = corpus[below(corpus.size())];
        const size_t begin = below(other.size());
        input.insert(at, other.substr(begin, 1 + below(other.size() - begin)));
        break;
      }
      default:
        input.insert(at, input.substr(at, 1 + below(8)));
        break;
    }
  }
  return input;
}

}  // namespace

TEST_CASE("the fuzz target survives its corpus") {
  const std::vector<std::string> corpus = Corpus();
  CHECK(corpus.size() >= 20);
  for (const std::string& input : corpus) Run(input);
}

TEST_CASE("the fuzz target survives mutations of its corpus") {
  const std::vector<std::string> corpus = Corpus();
  constexpr uint64_t kSeed = 20240229;
  constexpr int kCases = 20000;
  std::mt19937_64 random(kSeed);
  for (int i = 0; i < kCases; ++i) Run(Mutate(corpus[random() % corpus.size()], corpus, &random));
}
