#pragma once

#include <string>
#include <vector>

/// Plots as SVG text for a self-contained HTML page. Colours come from the page's CSS variables.
namespace gnomon::demo {

struct Series {
  std::string name;
  std::vector<double> x;
  std::vector<double> y;
  std::string color;  ///< CSS colour
};

struct PlotOptions {
  std::string x_label;
  std::string y_label;
  bool log_scale = false;   ///< both axes, for positive values
  bool diagonal = false;    ///< the line y = x
  bool zero_based = false;  ///< the y axis begins at 0
};

/// Lines with markers. Points that are not finite are left out.
std::string LinePlot(const std::vector<Series>& series, const PlotOptions& options);
std::string ScatterPlot(const std::vector<Series>& series, const PlotOptions& options);
/// Values in `bins` equally wide classes between the smallest value and the 99.5th percentile.
std::string Histogram(const std::vector<double>& values, int bins, const PlotOptions& options);

struct Bar {
  std::string name;
  double value = 0;
  std::string text;  ///< at the bar's end
  std::string color;
};
/// Horizontal bars, the longest fills the width.
std::string BarPlot(const std::vector<Bar>& bars);

/// Replaces & < > and quotes.
std::string EscapeHtml(const std::string& text);

}  // namespace gnomon::demo
