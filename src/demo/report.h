#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/error.h"

namespace gnomon::demo {

/// A self-contained HTML page: no script, no outside reference.
class Report {
 public:
  Report(std::string title, std::string subtitle)
      : title_(std::move(title)), subtitle_(std::move(subtitle)) {}

  /// Figures in large type at the top: (value, what it is).
  void AddFigure(std::string value, std::string name) {
    figures_.emplace_back(std::move(value), std::move(name));
  }
  /// A plot with its heading and a sentence that says how to read it.
  void AddPlot(std::string heading, std::string caption, std::string svg);
  /// A table; cells are plain text.
  void AddTable(std::string heading, std::string caption, const std::vector<std::string>& header,
                const std::vector<std::vector<std::string>>& rows);

  std::string ToHtml() const;
  Status WriteTo(const std::string& path) const;

 private:
  std::string title_;
  std::string subtitle_;
  std::vector<std::pair<std::string, std::string>> figures_;
  std::string sections_;
};

}  // namespace gnomon::demo
