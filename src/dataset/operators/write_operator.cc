#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <system_error>
#include <unistd.h>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/checked_cast.h>

#include "base/files.h"
#include "base/ids.h"
#include "base/text.h"
#include "dataset/operators/factories_internal.h"
#include "dataset/operators/sorter_internal.h"
#include "dataset/plan_internal.h"
#include "expr/expression.h"
#include "table/partition_path.h"

namespace gnomon::dataset::internal {

namespace {

namespace fs = std::filesystem;

/// Rows that a writer gets at a time: part of what the bytes of a file depend on, so not the batch
/// size of the execution.
constexpr int64_t kWriteRows = int64_t{64} * 1024;

const char* SuffixOf(table::FileFormat format) {
  switch (format) {
    case table::FileFormat::kParquet:
      return ".parquet";
    case table::FileFormat::kCsv:
      return ".csv";
    case table::FileFormat::kJson:
      return ".jsonl";
    case table::FileFormat::kIpc:
      return ".arrow";
  }
  return "";
}

/// A folder that takes the place of `path` with all that is in it, or is removed.
class AtomicFolder {
 public:
  explicit AtomicFolder(fs::path path) : path_(std::move(path)) {
    if (!path_.has_filename()) path_ = path_.parent_path();
    temporary_ = path_.parent_path() / Concat(".", path_.filename().string(), ".", RandomUuid());
  }
  ~AtomicFolder() {
    std::error_code ignored;
    fs::remove_all(temporary_, ignored);
  }
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  Status Create() { return MakeFolders(temporary_.string()); }
  const fs::path& temporary() const { return temporary_; }
  const fs::path& path() const { return path_; }

  /// What stood at the path before changes places with the new folder and is removed with it.
  Status Commit() {
    if (::rename(temporary_.c_str(), path_.c_str()) == 0) return Status::OK();
    if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), RENAME_EXCHANGE) == 0)
      return Status::OK();
    return errno == EINVAL ? CommitInTwoSteps() : ErrnoError(errno, path_.string());
  }

 private:
  /// For file systems that cannot exchange names.
  Status CommitInTwoSteps() {
    const fs::path old = Concat(temporary_.string(), ".old");
    if (::rename(path_.c_str(), old.c_str()) != 0) return ErrnoError(errno, path_.string());
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
      const Status status = ErrnoError(errno, path_.string());
      static_cast<void>(::rename(old.c_str(), path_.c_str()));
      return status;
    }
    std::error_code ignored;
    fs::remove_all(old, ignored);
    return Status::OK();
  }

  fs::path path_;
  fs::path temporary_;
};

struct WrittenFile {
  std::string path;
  int64_t rows = 0;
};

/// The columns that make up the partition, as text.
class PartitionTexts {
 public:
  static Result<PartitionTexts> Make(const arrow::Schema& schema,
                                     const std::vector<std::string>& names) {
    PartitionTexts texts;
    for (const std::string& name : names) {
      GNOMON_ASSIGN_OR_RETURN(const auto expression, expr::Expression::Parse(PartitionText(name)));
      auto bound = expression.Bind(schema);
      GNOMON_RETURN_NOT_OK(WithContext(bound.status(), Concat("partition_by ", Quoted(name))));
      texts.names_.push_back(name);
      texts.expressions_.push_back(*std::move(bound));
    }
    return texts;
  }

  /// The folders of each row: "day=1/store=2".
  Result<std::vector<std::string>> FoldersOf(const arrow::RecordBatch& batch) const {
    std::vector<std::string> folders(static_cast<size_t>(batch.num_rows()));
    for (size_t i = 0; i < names_.size(); ++i) {
      GNOMON_ASSIGN_OR_RETURN(const auto column, expressions_[i].Evaluate(batch));
      const auto& texts = arrow::internal::checked_cast<const arrow::StringArray&>(*column);
      const arrow::TimestampArray* const nanos = NanosOf(*batch.GetColumnByName(names_[i]));
      for (int64_t row = 0; row < batch.num_rows(); ++row) {
        std::string& folder = folders[static_cast<size_t>(row)];
        if (i > 0) folder.push_back('/');
        std::optional<std::string> text;
        if (texts.IsValid(row)) text = texts.GetString(row);
        if (text && nanos != nullptr) AddNanos(nanos->Value(row), &*text);
        folder += table::FormatPartition({names_[i], std::move(text)});
      }
    }
    return folders;
  }

 private:
  static const arrow::TimestampArray* NanosOf(const arrow::Array& column) {
    if (column.type_id() != arrow::Type::TIMESTAMP) return nullptr;
    const auto& type = static_cast<const arrow::TimestampType&>(*column.type());
    if (type.unit() != arrow::TimeUnit::NANO) return nullptr;
    return &arrow::internal::checked_cast<const arrow::TimestampArray&>(column);
  }

  /// "...T12:30:00.000001Z" becomes "...T12:30:00.000001002Z" when the last digits are not zero.
  static void AddNanos(int64_t nanos, std::string* text) {
    constexpr int64_t kPerMicro = 1000;
    const int64_t rest = (nanos % kPerMicro + kPerMicro) % kPerMicro;
    if (rest == 0) return;
    const bool is_whole = text->find('.') == std::string::npos;
    const std::string digits = std::to_string(kPerMicro + rest).substr(1);
    text->insert(text->size() - 1, Concat(is_whole ? ".000000" : "", digits));
  }

  std::vector<std::string> names_;
  std::vector<expr::BoundExpression> expressions_;
};

class WriteOperator : public Operator {
 public:
  WriteOperator(const Environment& environment, const Plan& plan, OperatorPtr input,
                OperatorStats* stats)
      : Operator(environment, plan->schema(), stats),
        spec_(std::get<WriteSpec>(plan->spec())),
        input_(std::move(input)) {}

 private:
  table::WriteOptions Options() const {
    return {.format = spec_.format,
            .row_group_rows = spec_.row_group_rows,
            .compression = spec_.compression};
  }

  Result<BatchPtr> Pull() override {
    if (std::exchange(done_, true)) return nullptr;
    if (!spec_.partition_by.empty()) {
      GNOMON_RETURN_NOT_OK(WritePartitionedFolder());
    } else if (spec_.rows_per_file > 0) {
      GNOMON_RETURN_NOT_OK(WriteFolder());
    } else {
      GNOMON_RETURN_NOT_OK(WriteFile());
    }
    std::ranges::sort(files_, {}, &WrittenFile::path);
    arrow::StringBuilder paths;
    arrow::Int64Builder rows;
    for (const WrittenFile& file : files_) {
      GNOMON_RETURN_NOT_OK(paths.Append(file.path));
      GNOMON_RETURN_NOT_OK(rows.Append(file.rows));
    }
    GNOMON_ASSIGN_OR_RETURN(auto path_array, paths.Finish());
    GNOMON_ASSIGN_OR_RETURN(auto rows_array, rows.Finish());
    return arrow::RecordBatch::Make(schema(), static_cast<int64_t>(files_.size()),
                                    {std::move(path_array), std::move(rows_array)});
  }

  Status WriteFile() {
    GNOMON_ASSIGN_OR_RETURN(
        const auto writer,
        table::TableWriter::Open(context(), spec_.path, input_->schema(), Options()));
    WrittenFile file{spec_.path};
    Rebatcher batches(input_.get(), kWriteRows);
    while (true) {
      GNOMON_ASSIGN_OR_RETURN(const auto batch, batches.Next());
      if (batch == nullptr) break;
      GNOMON_RETURN_NOT_OK(writer->Write(*batch));
      file.rows += batch->num_rows();
    }
    GNOMON_RETURN_NOT_OK(writer->Commit());
    files_.push_back(std::move(file));
    return Status::OK();
  }

  /// At least one file, so that the folder has a schema.
  Status WriteFolder() {
    AtomicFolder folder(spec_.path);
    GNOMON_RETURN_NOT_OK(folder.Create());
    PartitionFiles files(*this, folder, input_->schema());
    while (true) {
      GNOMON_ASSIGN_OR_RETURN(auto batch, input_->Next());
      if (batch == nullptr) break;
      GNOMON_RETURN_NOT_OK(files.Write("", std::move(batch)));
    }
    if (files_.empty()) GNOMON_RETURN_NOT_OK(files.Open("", spec_.first_file));
    GNOMON_RETURN_NOT_OK(files.Close());
    return folder.Commit();
  }

  /// Sorts by partition, so that one file is open at a time.
  Status WritePartitionedFolder() {
    std::vector<int> keys;
    for (const std::string& name : spec_.partition_by)
      keys.push_back(input_->schema()->GetFieldIndex(name));
    GNOMON_ASSIGN_OR_RETURN(const auto texts,
                            PartitionTexts::Make(*input_->schema(), spec_.partition_by));
    ExternalSorter sorter(environment(), input_->schema(), KeyEncoder(keys), std::nullopt, stats());
    while (true) {
      GNOMON_ASSIGN_OR_RETURN(const auto batch, input_->Next());
      if (batch == nullptr) break;
      GNOMON_RETURN_NOT_OK(sorter.Add(batch));
    }
    GNOMON_ASSIGN_OR_RETURN(const auto sorted, sorter.Finish());
    AtomicFolder folder(spec_.path);
    GNOMON_RETURN_NOT_OK(folder.Create());
    GNOMON_RETURN_NOT_OK(WritePartitions(sorted.get(), texts, keys, folder));
    return folder.Commit();
  }

  Status WritePartitions(BatchSource* sorted, const PartitionTexts& texts,
                         const std::vector<int>& keys, const AtomicFolder& folder) {
    std::vector<int> columns;
    arrow::FieldVector fields;
    for (int i = 0; i < input_->schema()->num_fields(); ++i) {
      if (std::ranges::find(keys, i) != keys.end()) continue;
      columns.push_back(i);
      fields.push_back(input_->schema()->field(i));
    }
    PartitionFiles files(*this, folder, arrow::schema(std::move(fields)));
    while (true) {
      GNOMON_ASSIGN_OR_RETURN(const auto batch, sorted->Next());
      if (batch == nullptr) break;
      GNOMON_ASSIGN_OR_RETURN(const auto folders, texts.FoldersOf(*batch));
      GNOMON_ASSIGN_OR_RETURN(const auto values, batch->SelectColumns(columns));
      for (int64_t begin = 0; begin < batch->num_rows();) {
        int64_t end = begin + 1;
        const std::string& name = folders[static_cast<size_t>(begin)];
        while (end < batch->num_rows() && folders[static_cast<size_t>(end)] == name) ++end;
        GNOMON_RETURN_NOT_OK(files.Write(name, values->Slice(begin, end - begin)));
        begin = end;
      }
    }
    return files.Close();
  }

  /// One open file, which gets its rows in batches of one size.
  class PartitionFiles {
   public:
    PartitionFiles(WriteOperator& owner, const AtomicFolder& folder, SchemaPtr schema)
        : owner_(owner), folder_(folder), schema_(std::move(schema)) {}

    Status Write(const std::string& name, BatchPtr rows) {
      if (writer_ == nullptr || name != name_) {
        // Its files would take the place of those that are there.
        if (!name.empty() && fs::exists(folder_.temporary() / name)) {
          return Error(ErrorKind::kUser,
                       "values of partition_by that differ have one text: ", name);
        }
        GNOMON_RETURN_NOT_OK(Open(name, owner_.spec_.first_file));
      }
      const int64_t limit = owner_.spec_.rows_per_file;
      while (limit > 0 && file_rows_ + rows->num_rows() > limit) {
        const int64_t taken = limit - file_rows_;
        GNOMON_RETURN_NOT_OK(Add(rows->Slice(0, taken)));
        rows = rows->Slice(taken);
        GNOMON_RETURN_NOT_OK(Open(name, number_ + 1));
      }
      return Add(std::move(rows));
    }

    /// Begins a file of partition `name`.
    Status Open(const std::string& name, int64_t number) {
      GNOMON_RETURN_NOT_OK(Close());
      name_ = name;
      number_ = number;
      file_rows_ = 0;
      const std::string file = Concat("part-", NumberText(), SuffixOf(*owner_.spec_.format));
      GNOMON_ASSIGN_OR_RETURN(
          writer_,
          table::TableWriter::Open(owner_.context(), (folder_.temporary() / name / file).string(),
                                   schema_, owner_.Options()));
      owner_.files_.push_back({(folder_.path() / name / file).string()});
      return Status::OK();
    }

    Status Close() {
      if (writer_ == nullptr) return Status::OK();
      GNOMON_RETURN_NOT_OK(Flush(1));
      GNOMON_RETURN_NOT_OK(writer_->Commit());
      writer_.reset();
      return Status::OK();
    }

   private:
    /// Several files of a partition are read in the order of their names: 000000 to 999999, then
    /// a1000000 to a9999999, b10000000 and so on.
    std::string NumberText() const {
      constexpr size_t kDigits = 6;
      std::string text = std::to_string(number_);
      if (owner_.spec_.rows_per_file == 0) return text;
      if (text.size() <= kDigits) return std::string(kDigits - text.size(), '0') + text;
      return static_cast<char>('a' + (text.size() - kDigits - 1)) + text;
    }

    Status Add(BatchPtr rows) {
      if (rows->num_rows() == 0) return Status::OK();
      file_rows_ += rows->num_rows();
      pending_rows_ += rows->num_rows();
      pending_.push_back(std::move(rows));
      return pending_rows_ >= kWriteRows ? Flush(kWriteRows) : Status::OK();
    }

    /// Writes until fewer than `least` rows are pending.
    Status Flush(int64_t least) {
      MemorySource source(std::exchange(pending_, {}));
      Rebatcher batches(&source, kWriteRows);
      while (pending_rows_ >= least) {
        GNOMON_ASSIGN_OR_RETURN(const auto batch, batches.Next());
        GNOMON_RETURN_NOT_OK(writer_->Write(*batch));
        owner_.files_.back().rows += batch->num_rows();
        pending_rows_ -= batch->num_rows();
      }
      if (pending_rows_ == 0) return Status::OK();
      GNOMON_ASSIGN_OR_RETURN(auto rest, batches.Next());
      pending_.push_back(std::move(rest));
      return Status::OK();
    }

    WriteOperator& owner_;
    const AtomicFolder& folder_;
    const SchemaPtr schema_;
    std::string name_;
    int64_t number_ = 0;
    int64_t file_rows_ = 0;
    std::unique_ptr<table::TableWriter> writer_;
    std::vector<BatchPtr> pending_;
    int64_t pending_rows_ = 0;
  };

  const WriteSpec spec_;
  const OperatorPtr input_;
  std::vector<WrittenFile> files_;
  bool done_ = false;
};

}  // namespace

OperatorPtr MakeWriteOperator(const Environment& environment, const Plan& plan, OperatorPtr input,
                              OperatorStats* stats) {
  return std::make_unique<WriteOperator>(environment, plan, std::move(input), stats);
}

}  // namespace gnomon::dataset::internal
