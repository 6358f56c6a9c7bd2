// Objects as files, on Arrow's file system in memory. The real client is tested by
// tests/integration/s3.py.

#include <algorithm>
#include <atomic>
#include <latch>
#include <stop_token>
#include <thread>

#include <arrow/buffer.h>
#include <arrow/filesystem/mockfs.h>
#include <doctest/doctest.h>

#include "table/object_store_internal.h"
#include "tests/support/status.h"

namespace gnomon::table::internal {

using test::ValueOf;

namespace {

using Paths = std::vector<std::string>;

std::shared_ptr<FileSystem> StoreOf(const Paths& keys) {
  auto store = std::make_shared<arrow::fs::internal::MockFileSystem>(arrow::fs::kNoTime);
  for (const std::string& key : keys) CHECK_OK(store->CreateFile(key, "text"));
  return MakeObjectFileSystem(std::move(store), "http://mock");
}

Paths ListOf(FileSystem& files, const std::string& path) {
  Paths paths = ValueOf(files.List(path));
  std::ranges::sort(paths);
  return paths;
}

std::string TextOf(const Result<std::shared_ptr<arrow::Buffer>>& bytes) {
  return ValueOf(bytes)->ToString();
}

/// A file in memory that counts and remembers the requests that it gets.
class CountedFile : public arrow::io::RandomAccessFile {
 public:
  explicit CountedFile(std::string text) : text_(std::move(text)) {}
  Status Close() override { return Status::OK(); }
  bool closed() const override { return false; }
  Result<int64_t> Tell() const override { return 0; }
  Status Seek(int64_t /*position*/) override { return Status::OK(); }
  Result<int64_t> GetSize() override { return static_cast<int64_t>(text_.size()); }
  Result<int64_t> Read(int64_t /*nbytes*/, void* /*out*/) override { return 0; }
  Result<std::shared_ptr<arrow::Buffer>> Read(int64_t /*nbytes*/) override { return nullptr; }
  using arrow::io::RandomAccessFile::ReadAt;
  Result<std::shared_ptr<arrow::Buffer>> ReadAt(int64_t position, int64_t nbytes) override {
    ++requests;
    return arrow::Buffer::FromString(
        text_.substr(static_cast<size_t>(position), static_cast<size_t>(nbytes)));
  }
  std::atomic<int> requests = 0;

 private:
  std::string text_;
};

constexpr int64_t kSize = 200'000;

std::string Digits() {
  std::string text;
  while (text.size() < static_cast<size_t>(kSize)) text += std::to_string(text.size()) + ";";
  text.resize(static_cast<size_t>(kSize));
  return text;
}

/// An upload that remembers how it ended.
class FakeUpload : public arrow::io::OutputStream {
 public:
  Status Write(const void* data, int64_t nbytes) override {
    if (fails) return Status::IOError("AWS Error SLOW_DOWN during UploadPart operation: busy");
    text.append(static_cast<const char*>(data), static_cast<size_t>(nbytes));
    return Status::OK();
  }
  Status Close() override {
    if (fails) return Status::IOError("AWS Error SLOW_DOWN during UploadPart operation: busy");
    closed_ = true;
    return Status::OK();
  }
  Status Abort() override {
    aborted = true;
    return Status::OK();
  }
  bool closed() const override { return closed_; }
  Result<int64_t> Tell() const override { return 0; }
  std::string text;
  std::atomic<bool> aborted = false;
  bool fails = false;

 private:
  bool closed_ = false;
};

/// A file that answers when it is released.
class HangingFile : public CountedFile {
 public:
  explicit HangingFile(std::latch* release) : CountedFile(Digits()), release_(release) {}
  using CountedFile::ReadAt;
  Result<std::shared_ptr<arrow::Buffer>> ReadAt(int64_t position, int64_t nbytes) override {
    ++waiting;
    release_->wait();
    auto bytes = CountedFile::ReadAt(position, nbytes);
    --waiting;
    return bytes;
  }
  std::atomic<int> waiting = 0;

 private:
  std::latch* release_;
};

/// An upload whose parts are not taken until it is released.
class HangingUpload : public FakeUpload {
 public:
  explicit HangingUpload(std::latch* release) : release_(release) {}
  Status Flush() override {
    ++waiting;
    release_->wait();
    return Status::OK();
  }
  std::atomic<int> waiting = 0;

 private:
  std::latch* release_;
};

}  // namespace

TEST_CASE("a folder of objects stands for what lies below it, but for hidden names") {
  const auto files =
      StoreOf({"b/data/day=1/a.parquet", "b/data/day=2/b c%20.parquet", "b/data/_tmp/x.parquet",
               "b/data/.hidden.parquet", "b/data/_SUCCESS", "b/other/y.parquet"});
  const Paths all = {"s3://b/data/day=1/a.parquet", "s3://b/data/day=2/b c%20.parquet"};
  CHECK(ListOf(*files, "s3://b/data") == all);
  CHECK(ListOf(*files, "s3://b/data/") == all);
  CHECK(ListOf(*files, all[1]) == Paths{all[1]});
  CHECK(ListOf(*files, "s3://b").size() == 3);
}

TEST_CASE("a glob of objects matches within folders, and a folder that it matches is read") {
  const auto files = StoreOf({"b/d/day=1/a.parquet", "b/d/day=1/a.csv", "b/d/day=2/a.parquet",
                              "b/d/day=2/_x.parquet", "b/d/other/a.parquet", "b/d/.day/a.parquet",
                              "b/d/[x].parquet"});
  const Paths parquet = {"s3://b/d/day=1/a.parquet", "s3://b/d/day=2/a.parquet"};
  CHECK(ListOf(*files, "s3://b/d/day=*/*.parquet") == parquet);
  CHECK(ListOf(*files, "s3://b/d/day=?/a.parquet") == parquet);
  CHECK(ListOf(*files, "s3://b/d/day=[12]/a.parquet") == parquet);
  CHECK(ListOf(*files, "s3://b/d/day=*").size() == 3);
  CHECK(ListOf(*files, "s3://b/d/[x].parquet") == Paths{"s3://b/d/[x].parquet"});
  CHECK_ERROR(files->List("s3://b/d/*.arrow"), ErrorKind::kNotFound, "s3://b/d/*.arrow");
}

TEST_CASE("an object, a folder, a bucket that are not there are told apart") {
  const auto files = StoreOf({"b/d/a.parquet", "b/empty/_x"});
  CHECK_ERROR(files->List("s3://b/nothing"), ErrorKind::kNotFound, "no such object or folder");
  CHECK_ERROR(files->List("s3://b/empty"), ErrorKind::kNotFound, "holds no data files");
  CHECK_ERROR(files->List("s3://nowhere/x"), ErrorKind::kNotFound,
              "there is no such bucket at http://mock: s3://nowhere");
  CHECK_ERROR(files->Open("s3://b/d/b.parquet"), ErrorKind::kNotFound, "s3://b/d/b.parquet");
  CHECK_ERROR(files->List("s3://"), ErrorKind::kUser, "names no bucket");
  CHECK_ERROR(files->Create("s3://b"), ErrorKind::kUser, "names no object");
  CHECK_ERROR(files->Create("s3://b/d/"), ErrorKind::kUser, "names no object");
  CHECK(ValueOf(files->IsFile("s3://b/d/a.parquet")));
  CHECK(!ValueOf(files->IsFile("s3://b/d")));
  CHECK(!ValueOf(files->IsFile("s3://b/nothing")));
  CHECK_OK(files->Delete("s3://b/d/a.parquet"));
  CHECK(!ValueOf(files->IsFile("s3://b/d/a.parquet")));
}

TEST_CASE("reads near the end of an object are one request") {
  const auto counted = std::make_shared<CountedFile>(Digits());
  const auto file = MakeObjectFile(counted, "s3://b/k", "AWS", {.size = kSize, .etag = "1"});
  const std::string all = Digits();
  CHECK(TextOf(file->ReadAt(kSize - 4, 4)) == all.substr(kSize - 4));
  CHECK(TextOf(file->ReadAt(kSize - 1000, 500)) == all.substr(kSize - 1000, 500));
  CHECK(counted->requests == 1);
  CHECK(TextOf(file->ReadAt(10, 20)) == all.substr(10, 20));
  CHECK(counted->requests == 2);
  CHECK(ValueOf(file->ReadAt(kSize - 2, 100))->size() == 2);
  CHECK(ValueOf(file->ReadAt(kSize, 100))->size() == 0);
  CHECK_ERROR(file->ReadAt(kSize + 1, 1), ErrorKind::kDataLoss, "s3://b/k");
}

TEST_CASE("announced parts are read together, once, and then by themselves") {
  const auto counted = std::make_shared<CountedFile>(Digits());
  const auto file = MakeObjectFile(counted, "s3://b/k", "AWS", {.size = kSize, .etag = "1"});
  const std::string all = Digits();
  file->Announce(
      {{.requests = {{100, 200}, {1000, 50}}, .reads = 3}, {.requests = {{5000, 10}}, .reads = 1}});
  CHECK(counted->requests == 0);
  CHECK(TextOf(file->ReadAt(150, 20)) == all.substr(150, 20));
  CHECK(TextOf(file->ReadAt(1000, 50)) == all.substr(1000, 50));
  CHECK(counted->requests == 2);
  CHECK(TextOf(file->ReadAt(290, 10)) == all.substr(290, 10));
  CHECK(counted->requests == 2);
  CHECK(TextOf(file->ReadAt(150, 20)) == all.substr(150, 20));
  CHECK(counted->requests == 3);
  CHECK(TextOf(file->ReadAt(4999, 5)) == all.substr(4999, 5));
  CHECK(counted->requests == 4);
  CHECK(TextOf(file->ReadAt(5000, 10)) == all.substr(5000, 10));
  CHECK(counted->requests == 5);
}

TEST_CASE("an object that has become shorter ends early") {
  const auto counted = std::make_shared<CountedFile>("short");
  const auto file = MakeObjectFile(counted, "s3://b/k", "AWS", {.size = 100'000, .etag = "1"});
  CHECK_ERROR(file->ReadAt(0, 10), ErrorKind::kDataLoss, "s3://b/k");
}

TEST_CASE("an upload is completed by Commit only, and given up without it") {
  const auto upload = std::make_shared<FakeUpload>();
  {
    const auto output = MakeObjectOutput(upload, "s3://b/k", "AWS");
    CHECK_OK(output->stream()->Write("abc", 3));
    CHECK_OK(output->stream()->Close());
    CHECK(!upload->closed());
    CHECK_OK(output->Commit());
    CHECK(upload->closed());
  }
  CHECK(!upload->aborted);
  CHECK(upload->text == "abc");
  const auto given_up = std::make_shared<FakeUpload>();
  { const auto output = MakeObjectOutput(given_up, "s3://b/k", "AWS"); }
  CHECK(given_up->aborted);
  CHECK(!given_up->closed());
  const auto failed = std::make_shared<FakeUpload>();
  failed->fails = true;
  {
    const auto output = MakeObjectOutput(failed, "s3://b/k", "AWS");
    const std::string piece(size_t{1} << 20, 'x');
    CHECK_ERROR(output->stream()->Write(piece.data(), static_cast<int64_t>(piece.size())),
                ErrorKind::kUnavailable, "s3://b/k");
    failed->fails = false;
    CHECK_ERROR(output->Commit(), ErrorKind::kUnavailable, "s3://b/k");
  }
  CHECK(failed->aborted);
  CHECK(!failed->closed());
  const auto cut_off = std::make_shared<FakeUpload>();
  {
    const auto output = MakeObjectOutput(cut_off, "s3://b/k", "AWS");
    CHECK_OK(output->stream()->Write("abc", 3));
    cut_off->fails = true;
    CHECK_ERROR(output->Commit(), ErrorKind::kUnavailable, "s3://b/k");
  }
  CHECK(cut_off->aborted);
}

TEST_CASE("who waits for an object goes on when the process is to end") {
  std::latch release(1);
  const auto hanging = std::make_shared<HangingFile>(&release);
  const auto upload = std::make_shared<HangingUpload>(&release);
  std::stop_source stop;
  StopObjectRequests(stop.get_token());
  {
    const auto file = MakeObjectFile(hanging, "s3://b/k", "AWS", {.size = kSize, .etag = "1"});
    const auto output = MakeObjectOutput(upload, "s3://b/out", "AWS");
    file->Announce({{.requests = {{100, 200}}, .reads = 1}});
    CHECK_OK(output->stream()->Write("abc", 3));
    std::jthread one([&] { CHECK_ERROR(file->ReadAt(0, 10), ErrorKind::kCancelled, "s3://b/k"); });
    std::jthread two([&] { CHECK_ERROR(file->ReadAt(kSize - 9, 9), ErrorKind::kCancelled, ""); });
    std::jthread three([&] { CHECK_ERROR(file->ReadAt(100, 9), ErrorKind::kCancelled, ""); });
    std::jthread four([&] { CHECK_ERROR(output->Commit(), ErrorKind::kCancelled, "s3://b/out"); });
    while (hanging->waiting < 3 || upload->waiting < 1) std::this_thread::yield();
    stop.request_stop();
  }
  // What was abandoned goes on with what it holds; the upload is given up after it.
  CHECK(hanging->waiting == 3);
  CHECK(!upload->aborted);
  release.count_down();
  while (hanging->waiting > 0 || !upload->aborted) std::this_thread::yield();
  CHECK(!upload->closed());
  StopObjectRequests({});
}

TEST_CASE("nothing more is asked of the service when the process is to end") {
  std::stop_source stop;
  StopObjectRequests(stop.get_token());
  const auto files = StoreOf({"b/d/a.parquet"});
  CHECK(ListOf(*files, "s3://b/d").size() == 1);
  stop.request_stop();
  CHECK_ERROR(files->List("s3://b/d"), ErrorKind::kCancelled, "s3://b/d");
  CHECK_ERROR(files->Open("s3://b/d/a.parquet"), ErrorKind::kCancelled, "s3://b/d/a.parquet");
  CHECK_ERROR(files->Create("s3://b/d/b.parquet"), ErrorKind::kCancelled, "s3://b/d/b.parquet");
  CHECK_ERROR(files->Delete("s3://b/d/a.parquet"), ErrorKind::kCancelled, "s3://b/d/a.parquet");
  StopObjectRequests({});
  CHECK(ValueOf(files->IsFile("s3://b/d/a.parquet")));
}

}  // namespace gnomon::table::internal
