#include "base/config.h"

#include <limits>

#include <doctest/doctest.h>

#include "base/time.h"
#include "tests/support/temporary.h"

namespace gnomon {

using test::ValueOf;

namespace {

std::optional<std::string> FakeVariable(const std::string& name) {
  if (name == "HOST") return "db.example";
  if (name == "PASSWORD") return "hunter2";
  if (name == "EMPTY") return "";
  return std::nullopt;
}

Result<ConfigNode> Parse(std::string_view yaml) {
  return ParseConfig(yaml, "f.yaml", FakeVariable);
}

ConfigNode Load(std::string_view yaml) { return ValueOf(Parse(yaml)); }

std::string Repeated(std::string_view text, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

}  // namespace

TEST_CASE("a document is a tree of mappings, sequences and scalars") {
  const ConfigNode root = Load("a: 1\nb:\n  - x\n  - y: z\n");
  REQUIRE(root.is_mapping());
  CHECK(ValueOf(root.Get("a").AsInt()) == 1);
  const auto elements = ValueOf(root.Get("b").Elements());
  REQUIRE(elements.size() == 2);
  CHECK(ValueOf(elements[0].AsString()) == "x");
  CHECK(ValueOf(elements[1].Get("y").AsString()) == "z");
}

TEST_CASE("members stand in the order of the file") {
  std::string keys;
  for (const auto& [key, value] : ValueOf(Load("z: 1\na: 2\nm: 3").Members())) keys += key;
  CHECK(keys == "zam");
}

TEST_CASE("an empty document is null") {
  for (const char* yaml : {"", "\n", "# a comment\n", "---\n", "~", "null"}) {
    CAPTURE(yaml);
    CHECK(Load(yaml).is_null());
  }
}

TEST_CASE("plain null words are null and quoted ones are text") {
  const ConfigNode root = Load("{a: ~, b: null, c: , d: '~', e: \"null\", f: ''}");
  CHECK(root.Get("a").is_null());
  CHECK(root.Get("b").is_null());
  CHECK(root.Get("c").is_null());
  CHECK(ValueOf(root.Get("d").AsString()) == "~");
  CHECK(ValueOf(root.Get("e").AsString()) == "null");
  CHECK(ValueOf(root.Get("f").AsString()) == "");
  CHECK(root.Has("a"));
  CHECK_FALSE(root.Has("x"));
}

TEST_CASE("a value knows its place and its path") {
  const ConfigNode root = Load("feature_views:\n  - name: a\n  - name: b\n    ttl: soon\n");
  const ConfigNode ttl = ValueOf(root.Get("feature_views").Elements())[1].Get("ttl");
  CHECK(ttl.path() == "feature_views[1].ttl");
  CHECK(ttl.location().ToString() == "f.yaml:4:10");
  const Status status = test::ErrorOf(ttl.AsDuration());
  CHECK(status.message() == "feature_views[1].ttl: expected a duration, got 'soon'");
  CHECK(LocationOf(status).line == 4);
  CHECK(root.path() == "");
}

TEST_CASE("an absent value is null, and its errors name the path to it") {
  const ConfigNode root = Load("a:\n  b: 1\n");
  const ConfigNode absent = root.Get("a").Get("c");
  CHECK(absent.is_null());
  CHECK_ERROR(absent.AsString(), ErrorKind::kUser,
              "a.c: expected text, got nothing\n  at f.yaml:2:3");
  CHECK(root.Get("a").Get("b").Get("deeper").is_null());
  CHECK(ConfigNode().Get("x").path() == "x");
}

TEST_CASE("booleans are read in any case, quoted or not, and with YAML 1.1's words") {
  for (const char* yaml : {"true", "True", "TRUE", "\"true\"", "yes", "On"})
    CHECK(ValueOf(Load(yaml).AsBool()));
  for (const char* yaml : {"false", "False", "'false'", "no", "OFF"})
    CHECK_FALSE(ValueOf(Load(yaml).AsBool()));
  CHECK_ERROR(Load("1").AsBool(), ErrorKind::kUser, "expected true or false, got '1'");
  CHECK_ERROR(Load("[true]").AsBool(), ErrorKind::kUser, "got a sequence");
}

TEST_CASE("whole numbers are read to the edge of 64 bits and not beyond") {
  CHECK(ValueOf(Load("-9223372036854775808").AsInt()) == std::numeric_limits<int64_t>::min());
  CHECK(ValueOf(Load("+9223372036854775807").AsInt()) == std::numeric_limits<int64_t>::max());
  CHECK(ValueOf(Load("0x1F").AsInt()) == 31);
  CHECK(ValueOf(Load("0o17").AsInt()) == 15);
  CHECK(ValueOf(Load("'12'").AsInt()) == 12);
  for (const char* yaml : {"9223372036854775808", "1.5", "1.0", "1e3", "a", "1_000", "0x", "0x-1",
                           "+-1", "1 2", "''", "~", "{}"}) {
    CAPTURE(yaml);
    CHECK_ERROR(Load(yaml).AsInt(), ErrorKind::kUser, "expected a whole number");
  }
}

TEST_CASE("numbers are read with YAML's infinities") {
  CHECK(ValueOf(Load("1.5").AsDouble()) == 1.5);
  CHECK(ValueOf(Load("-2").AsDouble()) == -2);
  CHECK(ValueOf(Load("+.5e1").AsDouble()) == 5);
  CHECK(ValueOf(Load(".inf").AsDouble()) == std::numeric_limits<double>::infinity());
  CHECK(ValueOf(Load("-.Inf").AsDouble()) == -std::numeric_limits<double>::infinity());
  const double nan = ValueOf(Load(".NaN").AsDouble());
  CHECK(nan != nan);
  for (const char* yaml : {"inf", "nan", "1e999", "1.5x", "-", "+", "+-1", "0x10", "''"}) {
    CAPTURE(yaml);
    CHECK_ERROR(Load(yaml).AsDouble(), ErrorKind::kUser, "expected a number");
  }
}

TEST_CASE("durations are numbers of seconds or have units") {
  CHECK(ValueOf(Load("90").AsDuration()) == 90 * kMicrosPerSecond);
  CHECK(ValueOf(Load("1.5").AsDuration()) == 1'500'000);
  CHECK(ValueOf(Load("7d 1h").AsDuration()) == 7 * kMicrosPerDay + 3'600 * kMicrosPerSecond);
  CHECK(ValueOf(Load("1H").AsDuration()) == 3'600 * kMicrosPerSecond);
  for (const char* yaml : {"-1", "-1d", ".inf", "1e300", "9223372036854775807", "~"}) {
    CAPTURE(yaml);
    CHECK_ERROR(Load(yaml).AsDuration(), ErrorKind::kUser, "expected a duration");
  }
}

TEST_CASE("timestamps and bytes are read with the place of the error") {
  CHECK(ValueOf(Load("2024-01-05").AsTimestamp()) == 1'704'412'800'000'000);
  CHECK(ValueOf(Load("a: 2024-01-05 12:00:00").Get("a").AsTimestamp()) == 1'704'456'000'000'000);
  CHECK_ERROR(Load("a: 2024-02-30").Get("a").AsTimestamp(), ErrorKind::kUser, "f.yaml:1:4");
  CHECK(ValueOf(Load("64MiB").AsBytes()) == int64_t{64} << 20);
  CHECK_ERROR(Load("a: [1]").Get("a").AsBytes(), ErrorKind::kUser, "a: expected a number of bytes");
}

TEST_CASE("a lone scalar is a list of one and null a list of none") {
  CHECK(ValueOf(Load("[a, 'b', 3]").AsStringList()) == std::vector<std::string>{"a", "b", "3"});
  CHECK(ValueOf(Load("a").AsStringList()) == std::vector<std::string>{"a"});
  CHECK(ValueOf(Load("").AsStringList()).empty());
  CHECK_ERROR(Load("[a, [b]]").AsStringList(), ErrorKind::kUser,
              "[1]: expected text, got a sequence");
  CHECK_ERROR(Load("[a, ~]").AsStringList(), ErrorKind::kUser, "[1]: expected text, got nothing");
  CHECK_ERROR(Load("{a: b}").AsStringList(), ErrorKind::kUser, "got a mapping");
}

TEST_CASE("a mapping of scalars is a map of text") {
  const auto map = ValueOf(Load("{b: 1, a: x}").AsStringMap());
  CHECK(map == std::map<std::string, std::string>{{"a", "x"}, {"b", "1"}});
  CHECK(ValueOf(ConfigNode().AsStringMap()).empty());
  CHECK_ERROR(Load("{a: [1]}").AsStringMap(), ErrorKind::kUser, "a: expected text");
  CHECK_ERROR(Load("[a]").AsStringMap(), ErrorKind::kUser, "expected a mapping of text");
}

TEST_CASE("elements and members are asked of the right type") {
  CHECK_ERROR(Load("{a: 1}").Elements(), ErrorKind::kUser, "expected a sequence, got a mapping");
  CHECK_ERROR(Load("a: x").Get("a").Members(), ErrorKind::kUser, "a: expected a mapping, got 'x'");
  CHECK(ValueOf(ConfigNode().Elements()).empty());
  CHECK(ValueOf(ConfigNode().Members()).empty());
}

TEST_CASE("an unknown key is an error with the nearest known one") {
  const ConfigNode view =
      ValueOf(Load("views:\n  - name: a\n    tll: 7d\n").Get("views").Elements())[0];
  const Status status = view.CheckKeys({"name", "ttl"});
  CHECK(FormatError(status) ==
        "views[0]: unknown key 'tll'\n  at f.yaml:3:5\n  hint: did you mean 'ttl'?");
  CHECK_ERROR(view.CheckKeys({"name", "entities"}), ErrorKind::kUser, "known keys: name, entities");
  // The place is the key's, also where the value begins on another line or stands for an alias.
  const ConfigNode far = Load("a: &x {k: 1}\nb:\n  - 1\nc: *x\n");
  CHECK(LocationOf(far.CheckKeys({"a", "c"})).line == 2);
  CHECK(LocationOf(far.CheckKeys({"a", "b"})).line == 4);
  CHECK_OK(view.CheckKeys({"name", "tll"}));
  CHECK_OK(view.CheckKeys({"name"}, {"tll"}));
  CHECK_OK(ConfigNode().CheckKeys({}));
  CHECK_ERROR(Load("x").CheckKeys({}), ErrorKind::kUser, "expected a mapping");
}

TEST_CASE("a key that stands twice is an error, also from an alias") {
  CHECK_ERROR(Parse("a: 1\nb: 2\na: 3\n"), ErrorKind::kUser,
              "the key stands twice: 'a'\n  at f.yaml:3:1");
  CHECK_ERROR(Parse("x:\n  - {a: 1, 'a': 2}"), ErrorKind::kUser, "x[0]: the key stands twice: 'a'");
  CHECK_ERROR(Parse("&k a: 1\n*k : 2\n"), ErrorKind::kUser, "twice");
}

TEST_CASE("a key is text") {
  for (const char* yaml : {"[a]: 1", "{a: b}: 1", "? [a]\n: 1", "~: 1", "{: 1}"}) {
    CAPTURE(yaml);
    CHECK_ERROR(Parse(yaml), ErrorKind::kUser, "a key must be text");
  }
}

TEST_CASE("an alias stands for a copy with its own path and the original's place") {
  const ConfigNode root = Load("a: &x\n  b: [1, 2]\nc: *x\n");
  const ConfigNode copy = ValueOf(root.Get("c").Get("b").Elements())[1];
  CHECK(ValueOf(copy.AsInt()) == 2);
  CHECK(copy.path() == "c.b[1]");
  CHECK(copy.location().line == 2);
  CHECK(ValueOf(root.Get("a").Get("b").Elements())[1].path() == "a.b[1]");
}

TEST_CASE("aliases cannot stand for more values than the bound") {
  std::string yaml = "a0: &a0 [" + Repeated("x,", 10) + "]\n";
  for (int i = 1; i <= 9; ++i) {
    yaml += Concat("a", i, ": &a", i, " [", Repeated(Concat("*a", i - 1, ","), 10), "]\n");
  }
  CHECK_ERROR(Parse(yaml), ErrorKind::kUser, "aliases stand for too many values");
}

TEST_CASE("an alias that is unknown or inside its own anchor is an error") {
  CHECK_ERROR(Parse("a: *nowhere"), ErrorKind::kUser, "f.yaml:1:4");
  CHECK_ERROR(Parse("a: &x [1, *x]"), ErrorKind::kUser, "inside its own anchor");
  CHECK_ERROR(Parse("&x {a: *x}"), ErrorKind::kUser, "inside its own anchor");
}

TEST_CASE("a hundred levels are read and more are refused") {
  CHECK_OK(Parse(Repeated("[", 100) + Repeated("]", 100)));
  for (const size_t depth : {101, 600, 200'000}) {
    CAPTURE(depth);
    CHECK_ERROR(Parse(Repeated("[", depth) + Repeated("]", depth)), ErrorKind::kUser,
                "nested too deep");
    CHECK_ERROR(Parse(Repeated("{a: ", depth) + Repeated("}", depth)), ErrorKind::kUser,
                "nested too deep");
    CHECK_ERROR(Parse(Repeated("- ", depth)), ErrorKind::kUser, "nested too deep");
    CHECK_FALSE(Parse(Repeated("[", depth)).ok());
    CHECK_FALSE(Parse(Repeated("? ", depth)).ok());
  }
}

TEST_CASE("an alias cannot deepen the tree past the bound") {
  const std::string deep = "a: &x " + Repeated("[", 60) + Repeated("]", 60) + "\n";
  CHECK_ERROR(Parse(deep + "b: " + Repeated("[", 60) + "*x" + Repeated("]", 60)), ErrorKind::kUser,
              "too deep");
  CHECK_OK(Parse(deep + "b: [*x]"));
}

TEST_CASE("variables are expanded in scalars") {
  const ConfigNode root =
      Load("a: postgres://${HOST}:5432\nb: '$HOST/$EMPTY.'\nc: \"$$HOST ${EMPTY}$\"\nd: $NO/$1\n");
  CHECK(ValueOf(root.Get("a").AsString()) == "postgres://db.example:5432");
  CHECK(ValueOf(root.Get("b").AsString()) == "db.example/.");
  CHECK(ValueOf(root.Get("c").AsString()) == "$HOST $");
  CHECK(ValueOf(root.Get("d").AsString()) == "$NO/$1");
  CHECK(Load("$HOST: 1").Has("$HOST"));
}

TEST_CASE("an unset variable in braces is an error that names it") {
  CHECK_ERROR(Parse("a:\n  - x\n  - ${NO_SUCH}/b"), ErrorKind::kUser,
              "a[1]: environment variable is not set: NO_SUCH\n  at f.yaml:3:5");
  CHECK_ERROR(Parse("a: '${HOST'"), ErrorKind::kUser, "name of an environment variable");
  CHECK_ERROR(Parse("a: ${}"), ErrorKind::kUser, "name of an environment variable");
  CHECK_ERROR(Parse("a: '${A-b}'"), ErrorKind::kUser, "written $$");
}

TEST_CASE("what a variable stands for is not shown in an error") {
  const Status status = test::ErrorOf(Load("port: ${PASSWORD}").Get("port").AsInt());
  CHECK(FormatError(status).find("hunter2") == std::string::npos);
  CHECK(FormatError(status).find("got '${PASSWORD}'") != std::string::npos);
  const Status duration = test::ErrorOf(Load("ttl: ${PASSWORD}").Get("ttl").AsDuration());
  CHECK(FormatError(duration).find("hunter2") == std::string::npos);
}

TEST_CASE("text that is no YAML is an error with its place") {
  CHECK_ERROR(Parse("a: 1\nb: [1, 2\n"), ErrorKind::kUser, "invalid YAML");
  CHECK_ERROR(Parse("a: \"x"), ErrorKind::kUser, "f.yaml:1:");
  CHECK_ERROR(Parse("a: b: c"), ErrorKind::kUser, "f.yaml:1:5");
  CHECK_ERROR(Parse("a:\n\t- b"), ErrorKind::kUser, "f.yaml");
  CHECK_ERROR(Parse("a: 1\n---\nb: 2\n"), ErrorKind::kUser, "one YAML document");
  CHECK_ERROR(Parse("a: !!binary abcd"), ErrorKind::kUser, "tags are not supported");
  CHECK_ERROR(Parse("a: !python/object x"), ErrorKind::kUser, "tags are not supported");
  CHECK_OK(Parse("a: !!str 5\nb: !!seq [1]\n"));
}

TEST_CASE("letters that YAML does not allow are errors") {
  CHECK_ERROR(Parse("a: 1\nb: \x04\nc: 2"), ErrorKind::kUser, "control character 4\n  at f.yaml:2");
  CHECK_ERROR(Parse(std::string_view("a\0b", 3)), ErrorKind::kUser, "control character 0");
  CHECK_ERROR(Parse("a: \xff\xfe"), ErrorKind::kUser, "UTF-8");
  CHECK_ERROR(Parse("\xff\xfe a"), ErrorKind::kUser, "UTF-8");
  CHECK(ValueOf(Load("\xef\xbb\xbf"
                     "a: \xe2\x82\xac\r\n")
                    .Get("a")
                    .AsString()) == "\xe2\x82\xac");
}

TEST_CASE("a long value is cut off in an error, between letters") {
  const std::string text = Repeated("\xe2\x82\xac", 50);
  CHECK_ERROR(Load(text).AsInt(), ErrorKind::kUser,
              Concat("got '", Repeated("\xe2\x82\xac", 20), "'..."));
}

TEST_CASE("a file is loaded under its name") {
  const auto folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/a.yaml";
  CHECK_OK(WriteFileAtomic(path, "a: [1, 2\n"));
  CHECK_ERROR(LoadConfigFile(path), ErrorKind::kUser, path);
  CHECK_OK(WriteFileAtomic(path, "a: 1"));
  CHECK(ValueOf(LoadConfigFile(path)).Get("a").location().file == path);
  CHECK_ERROR(LoadConfigFile(path + "x"), ErrorKind::kNotFound, path);
}

TEST_CASE("an error at a node carries its path, place and hint") {
  const Status status = Load("a:\n  b: 1\n").Get("a").Get("b").ErrorHere("too small", "take 2");
  CHECK(FormatError(status) == "a.b: too small\n  at f.yaml:2:6\n  hint: take 2");
}

TEST_CASE("a secret prints as stars") {
  CHECK(Secret("hunter2").ToString() == "***");
  CHECK(Secret("hunter2").Reveal() == "hunter2");
  CHECK(Secret().ToString() == "");
  CHECK(Secret("").empty());
}

}  // namespace gnomon
