#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <vector>

#include <arrow/array.h>
#include <arrow/array/util.h>
#include <arrow/buffer.h>
#include <arrow/type.h>
#include <arrow/util/bit_util.h>
#include <parquet/column_page.h>
#include <parquet/column_reader.h>
#include <parquet/encoding.h>

#include "table/parquet_gather_internal.h"

namespace gnomon::table::internal {

namespace {

/// Levels that are decoded together, so that what a page says about its size is never allocated.
constexpr int kStep = 4096;

Status Damaged(const char* what) {
  return Error(ErrorKind::kDataLoss, "damaged column chunk: ", what);
}

bool IsDictionary(parquet::Encoding::type encoding) {
  return encoding == parquet::Encoding::RLE_DICTIONARY ||
         encoding == parquet::Encoding::PLAIN_DICTIONARY;
}

/// Where a data page's levels end and its values begin.
struct PageValues {
  const uint8_t* data = nullptr;
  int size = 0;
};

/// Walks the pages of one chunk, in step with the wanted rows.
template <typename DType>
class PagePicker {
 public:
  using Value = typename DType::c_type;

  PagePicker(const parquet::ColumnDescriptor* column, std::span<const int64_t> rows)
      : column_(column), has_nulls_(column->max_definition_level() == 1), rows_(rows) {}

  Status Run(parquet::PageReader* pages) {
    GNOMON_ASSIGN_OR_RETURN(
        values_, arrow::AllocateBuffer(static_cast<int64_t>(rows_.size() * sizeof(Value))));
    pages->set_data_page_filter([this](const parquet::DataPageStats& page) {
      const bool skip =
          page.num_values >= 0 && (done() || rows_[next_] >= page_begin_ + page.num_values);
      if (skip) page_begin_ += page.num_values;
      return skip;
    });
    while (!done()) {
      const std::shared_ptr<parquet::Page> page = pages->NextPage();
      if (page == nullptr) return Damaged("it ends before its last row");
      if (page->type() == parquet::PageType::DICTIONARY_PAGE) {
        GNOMON_RETURN_NOT_OK(ReadDictionary(static_cast<const parquet::DictionaryPage&>(*page)));
      } else if (page->type() == parquet::PageType::DATA_PAGE ||
                 page->type() == parquet::PageType::DATA_PAGE_V2) {
        GNOMON_RETURN_NOT_OK(ReadPage(static_cast<const parquet::DataPage&>(*page)));
      }
    }
    return Status::OK();
  }

  std::shared_ptr<arrow::Array> Finish(const std::shared_ptr<arrow::DataType>& type) {
    return arrow::MakeArray(arrow::ArrayData::Make(type, static_cast<int64_t>(rows_.size()),
                                                   {std::move(validity_), std::move(values_)},
                                                   null_count_));
  }

 private:
  bool done() const { return next_ == rows_.size(); }

  Status ReadDictionary(const parquet::DictionaryPage& page) {
    if (dictionary_ != nullptr) return Damaged("two dictionaries");
    auto plain = parquet::MakeTypedDecoder<DType>(parquet::Encoding::PLAIN, column_);
    plain->SetData(page.num_values(), page.data(), page.size());
    dictionary_ = parquet::MakeDictDecoder<DType>(column_);
    dictionary_->SetDict(plain.get());
    return Status::OK();
  }

  Result<PageValues> ReadLevels(const parquet::DataPage& page) {
    PageValues values{.data = page.data(), .size = page.size()};
    int skipped = 0;
    if (page.type() == parquet::PageType::DATA_PAGE_V2) {
      const auto& second = static_cast<const parquet::DataPageV2&>(page);
      const int repetition = second.repetition_levels_byte_length();
      const int definition = second.definition_levels_byte_length();
      if (repetition < 0 || definition < 0 || repetition > values.size ||
          definition > values.size - repetition) {
        return Damaged("levels longer than their page");
      }
      if (has_nulls_) levels_.SetDataV2(definition, 1, page.num_values(), values.data + repetition);
      skipped = repetition + definition;
    } else if (has_nulls_) {
      const auto& first = static_cast<const parquet::DataPageV1&>(page);
      skipped = levels_.SetData(first.definition_level_encoding(), 1, page.num_values(),
                                values.data, values.size);
    }
    if (skipped < 0 || skipped > values.size) return Damaged("levels longer than their page");
    return PageValues{.data = values.data + skipped, .size = values.size - skipped};
  }

  /// The decoder of the page's values; null for plain ones.
  Result<parquet::TypedDecoder<DType>*> DecoderOf(const parquet::DataPage& page,
                                                  const PageValues& values) {
    parquet::TypedDecoder<DType>* decoder = nullptr;
    if (IsDictionary(page.encoding())) {
      if (dictionary_ == nullptr) return Damaged("its dictionary is missing");
      decoder = dynamic_cast<parquet::TypedDecoder<DType>*>(dictionary_.get());
    } else if (page.encoding() != parquet::Encoding::PLAIN) {
      other_ = parquet::MakeTypedDecoder<DType>(page.encoding(), column_);
      decoder = other_.get();
    }
    if (decoder != nullptr) decoder->SetData(page.num_values(), values.data, values.size);
    return decoder;
  }

  Status ReadPage(const parquet::DataPage& page) {
    if (page.num_values() < 0) return Damaged("a negative number of values");
    GNOMON_ASSIGN_OR_RETURN(const PageValues values, ReadLevels(page));
    GNOMON_ASSIGN_OR_RETURN(parquet::TypedDecoder<DType>* const decoder, DecoderOf(page, values));
    const int64_t page_end = page_begin_ + page.num_values();
    int64_t values_before = 0;  // in the page
    for (int64_t begin = page_begin_; begin < page_end && !done() && rows_[next_] < page_end;
         begin += kStep) {
      const int count = static_cast<int>(std::min<int64_t>(kStep, page_end - begin));
      int present = count;
      if (has_nulls_) {
        if (levels_.Decode(count, steps_.data()) != count) return Damaged("too few levels");
        present = 0;
        for (int i = 0; i < count; ++i) present += steps_[static_cast<size_t>(i)];
        if (present < 0 || present > count) return Damaged("a level out of range");
      }
      const Value* decoded = nullptr;
      if (decoder != nullptr) {
        scratch_.resize(kStep);
        if (decoder->Decode(scratch_.data(), present) != present) return Damaged("too few values");
        decoded = scratch_.data();
      } else if ((values_before + present) * static_cast<int64_t>(sizeof(Value)) > values.size) {
        return Damaged("too few values");
      }
      const uint8_t* plain = values.data + values_before * static_cast<int64_t>(sizeof(Value));
      GNOMON_RETURN_NOT_OK(Pick(begin, count, present, decoded, plain));
      values_before += present;
    }
    page_begin_ = page_end;
    return Status::OK();
  }

  /// Takes the wanted ones of the rows [begin, begin + count), whose values stand one after another
  /// in `decoded` or, unaligned, in `plain`.
  Status Pick(int64_t begin, int count, int present, const Value* decoded, const uint8_t* plain) {
    auto* out = values_->mutable_data_as<Value>();
    int row = 0;    // up to which rows were counted
    int place = 0;  // of that row's value
    for (; !done() && rows_[next_] < begin + count; ++next_) {
      const auto wanted = static_cast<int>(rows_[next_] - begin);
      if (present == count) {
        place = wanted;
      } else {
        for (; row < wanted; ++row) place += steps_[static_cast<size_t>(row)];
        if (steps_[static_cast<size_t>(wanted)] == 0) {
          GNOMON_RETURN_NOT_OK(SetNull());
          continue;
        }
      }
      if (decoded != nullptr) {
        out[next_] = decoded[place];
      } else {
        std::memcpy(out + next_, plain + static_cast<size_t>(place) * sizeof(Value), sizeof(Value));
      }
    }
    return Status::OK();
  }

  Status SetNull() {
    if (validity_ == nullptr) {
      GNOMON_ASSIGN_OR_RETURN(validity_, arrow::AllocateBitmap(static_cast<int64_t>(rows_.size())));
      std::memset(validity_->mutable_data(), 0xff, static_cast<size_t>(validity_->size()));
    }
    arrow::bit_util::ClearBit(validity_->mutable_data(), static_cast<int64_t>(next_));
    values_->mutable_data_as<Value>()[next_] = Value{};
    ++null_count_;
    return Status::OK();
  }

  const parquet::ColumnDescriptor* column_;
  const bool has_nulls_;
  std::span<const int64_t> rows_;
  size_t next_ = 0;         ///< the first row that was not taken yet
  int64_t page_begin_ = 0;  ///< row
  parquet::LevelDecoder levels_;
  std::array<int16_t, kStep> steps_;
  std::vector<Value> scratch_;
  std::unique_ptr<parquet::DictDecoder<DType>> dictionary_;
  std::unique_ptr<parquet::TypedDecoder<DType>> other_;
  std::shared_ptr<arrow::Buffer> values_;
  std::shared_ptr<arrow::Buffer> validity_;
  int64_t null_count_ = 0;
};

template <typename DType>
Result<std::shared_ptr<arrow::Array>> PickAs(parquet::RowGroupReader* group, int leaf,
                                             const std::shared_ptr<arrow::DataType>& type,
                                             std::span<const int64_t> rows) {
  PagePicker<DType> picker(group->metadata()->schema()->Column(leaf), rows);
  const auto pages = group->GetColumnPageReader(leaf);
  GNOMON_RETURN_NOT_OK(picker.Run(pages.get()));
  return picker.Finish(type);
}

}  // namespace

bool CanPickFromPages(const parquet::RowGroupReader& group, int leaf, const arrow::DataType& type) {
  const parquet::ColumnDescriptor& column = *group.metadata()->schema()->Column(leaf);
  if (column.max_repetition_level() != 0 || column.max_definition_level() > 1) return false;
  switch (type.id()) {
    case arrow::Type::INT32:
    case arrow::Type::UINT32:
    case arrow::Type::DATE32:
    case arrow::Type::TIME32:
      return column.physical_type() == parquet::Type::INT32;
    case arrow::Type::INT64:
    case arrow::Type::UINT64:
    case arrow::Type::TIME64:
    case arrow::Type::TIMESTAMP:
    case arrow::Type::DURATION:
      return column.physical_type() == parquet::Type::INT64;
    case arrow::Type::FLOAT:
      return column.physical_type() == parquet::Type::FLOAT;
    case arrow::Type::DOUBLE:
      return column.physical_type() == parquet::Type::DOUBLE;
    default:
      return false;
  }
}

Result<std::shared_ptr<arrow::Array>> PickFromPages(parquet::RowGroupReader* group, int leaf,
                                                    const std::shared_ptr<arrow::DataType>& type,
                                                    std::span<const int64_t> rows) {
  if (rows.empty()) return arrow::MakeEmptyArray(type);
  switch (group->metadata()->schema()->Column(leaf)->physical_type()) {
    case parquet::Type::INT32:
      return PickAs<parquet::Int32Type>(group, leaf, type, rows);
    case parquet::Type::INT64:
      return PickAs<parquet::Int64Type>(group, leaf, type, rows);
    case parquet::Type::FLOAT:
      return PickAs<parquet::FloatType>(group, leaf, type, rows);
    case parquet::Type::DOUBLE:
      return PickAs<parquet::DoubleType>(group, leaf, type, rows);
    default:
      return Error(ErrorKind::kInternal, "values of the column cannot be picked from its pages");
  }
}

}  // namespace gnomon::table::internal
