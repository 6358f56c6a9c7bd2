#include "demo/plot.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/text.h"

namespace gnomon::demo {
namespace {

constexpr double kWidth = 560;
constexpr double kHeight = 300;
constexpr double kLeft = 64;
constexpr double kRight = 14;
constexpr double kTop = 14;
constexpr double kBottom = 46;

std::string Number(double value) {
  char buffer[32];
  const double size = std::abs(value);
  if (size >= 1e6) {
    std::snprintf(buffer, sizeof(buffer), "%.3gM", value / 1e6);
  } else if (size >= 1e4) {
    std::snprintf(buffer, sizeof(buffer), "%.3gk", value / 1e3);
  } else {
    std::snprintf(buffer, sizeof(buffer), "%.4g", value);
  }
  return buffer;
}

std::string Coordinate(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof(buffer), "%.1f", value);
  return buffer;
}

struct Axis {
  double low = 0;
  double high = 1;
  bool log = false;

  double Place(double value) const {
    if (log) return (std::log(value) - std::log(low)) / (std::log(high) - std::log(low));
    return (value - low) / (high - low);
  }

  /// About five round values inside the range.
  std::vector<double> Ticks() const {
    std::vector<double> ticks;
    if (log) {
      for (double tick = std::pow(10, std::ceil(std::log10(low) - 1e-9)); tick <= high * 1.0001;
           tick *= 10) {
        ticks.push_back(tick);
      }
      if (ticks.size() >= 2) return ticks;
      return {low, high};
    }
    const double rough = (high - low) / 5;
    const double power = std::pow(10, std::floor(std::log10(rough)));
    double step = power;
    for (double factor : {1.0, 2.0, 5.0, 10.0}) {
      step = power * factor;
      if (step >= rough) break;
    }
    for (double tick = std::ceil(low / step - 1e-9) * step; tick <= high + step * 1e-6;
         tick += step) {
      ticks.push_back(std::abs(tick) < step * 1e-6 ? 0 : tick);
    }
    return ticks;
  }
};

bool Usable(double value, bool log) { return std::isfinite(value) && (!log || value > 0); }

Axis MakeAxis(const std::vector<Series>& series, std::vector<double> Series::*member, bool log,
              bool from_zero) {
  Axis axis{.low = INFINITY, .high = -INFINITY, .log = log};
  for (const Series& one : series) {
    for (double value : one.*member) {
      if (!Usable(value, log)) continue;
      axis.low = std::min(axis.low, value);
      axis.high = std::max(axis.high, value);
    }
  }
  if (axis.low > axis.high) return {.low = 1, .high = 2, .log = log};
  if (from_zero && !log) axis.low = std::min(axis.low, 0.0);
  if (axis.low == axis.high) {
    const double margin = axis.low == 0 ? 1 : std::abs(axis.low) * 0.1;
    axis.low -= margin;
    axis.high += margin;
  } else if (log) {
    axis.low /= 1.15;
    axis.high *= 1.15;
  } else {
    const double margin = (axis.high - axis.low) * 0.04;
    if (!from_zero || axis.low < 0) axis.low -= margin;
    axis.high += margin;
  }
  return axis;
}

double X(const Axis& axis, double value) {
  return kLeft + axis.Place(value) * (kWidth - kLeft - kRight);
}
double Y(const Axis& axis, double value) {
  return kHeight - kBottom - axis.Place(value) * (kHeight - kTop - kBottom);
}

std::string Text(double x, double y, std::string_view anchor, const std::string& text,
                 std::string_view extra = "") {
  return Concat("<text x=\"", Coordinate(x), "\" y=\"", Coordinate(y), "\" text-anchor=\"", anchor,
                "\" ", extra, ">", EscapeHtml(text), "</text>");
}

std::string Frame(const Axis& x, const Axis& y, const PlotOptions& options) {
  std::string svg = Concat("<svg viewBox=\"0 0 ", Coordinate(kWidth), " ", Coordinate(kHeight),
                           "\" role=\"img\">");
  for (double tick : y.Ticks()) {
    const std::string at = Coordinate(Y(y, tick));
    svg += Concat("<line class=\"grid\" x1=\"", Coordinate(kLeft), "\" x2=\"",
                  Coordinate(kWidth - kRight), "\" y1=\"", at, "\" y2=\"", at, "\"/>",
                  Text(kLeft - 6, Y(y, tick) + 4, "end", Number(tick)));
  }
  for (double tick : x.Ticks()) {
    svg += Text(X(x, tick), kHeight - kBottom + 17, "middle", Number(tick));
  }
  svg += Concat("<line class=\"axis\" x1=\"", Coordinate(kLeft), "\" x2=\"",
                Coordinate(kWidth - kRight), "\" y1=\"", Coordinate(kHeight - kBottom), "\" y2=\"",
                Coordinate(kHeight - kBottom), "\"/>");
  svg += Text((kLeft + kWidth - kRight) / 2, kHeight - 8, "middle", options.x_label,
              "class=\"label\"");
  const double middle = (kTop + kHeight - kBottom) / 2;
  svg += Text(14, middle, "middle", options.y_label,
              Concat("class=\"label\" transform=\"rotate(-90 14 ", Coordinate(middle), ")\""));
  return svg;
}

std::string Legend(const std::vector<Series>& series) {
  if (series.size() < 2) return "";
  std::string svg;
  double y = kTop + 10;
  for (const Series& one : series) {
    svg += Concat("<circle cx=\"", Coordinate(kWidth - kRight - 8), "\" cy=\"", Coordinate(y - 4),
                  "\" r=\"4\" fill=\"", one.color, "\"/>",
                  Text(kWidth - kRight - 18, y, "end", one.name));
    y += 17;
  }
  return svg;
}

}  // namespace

std::string EscapeHtml(const std::string& text) {
  std::string out;
  for (char character : text) {
    switch (character) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out.push_back(character);
    }
  }
  return out;
}

std::string LinePlot(const std::vector<Series>& series, const PlotOptions& options) {
  const Axis x = MakeAxis(series, &Series::x, options.log_scale, false);
  const Axis y = MakeAxis(series, &Series::y, options.log_scale, options.zero_based);
  std::string svg = Frame(x, y, options);
  for (const Series& one : series) {
    std::string points;
    std::string marks;
    for (size_t i = 0; i < one.x.size(); ++i) {
      if (!Usable(one.x[i], x.log) || !Usable(one.y[i], y.log)) continue;
      const std::string px = Coordinate(X(x, one.x[i]));
      const std::string py = Coordinate(Y(y, one.y[i]));
      points += Concat(px, ",", py, " ");
      marks += Concat("<circle cx=\"", px, "\" cy=\"", py, "\" r=\"2.5\" fill=\"", one.color,
                      "\"><title>", EscapeHtml(one.name), " ", Number(one.x[i]), ": ",
                      Number(one.y[i]), "</title></circle>");
    }
    svg += Concat("<polyline fill=\"none\" stroke-width=\"2\" stroke=\"", one.color, "\" points=\"",
                  points, "\"/>", marks);
  }
  return Concat(svg, Legend(series), "</svg>");
}

std::string ScatterPlot(const std::vector<Series>& series, const PlotOptions& options) {
  Axis x = MakeAxis(series, &Series::x, options.log_scale, false);
  Axis y = MakeAxis(series, &Series::y, options.log_scale, options.zero_based);
  if (options.diagonal) {
    x.low = y.low = std::min(x.low, y.low);
    x.high = y.high = std::max(x.high, y.high);
  }
  std::string svg = Frame(x, y, options);
  if (options.diagonal) {
    svg += Concat("<line class=\"axis\" stroke-dasharray=\"4 4\" x1=\"", Coordinate(X(x, x.low)),
                  "\" y1=\"", Coordinate(Y(y, y.low)), "\" x2=\"", Coordinate(X(x, x.high)),
                  "\" y2=\"", Coordinate(Y(y, y.high)), "\"/>");
  }
  for (const Series& one : series) {
    svg += Concat("<g fill=\"", one.color, "\" fill-opacity=\"0.35\">");
    for (size_t i = 0; i < one.x.size(); ++i) {
      if (!Usable(one.x[i], x.log) || !Usable(one.y[i], y.log)) continue;
      svg += Concat("<circle r=\"2\" cx=\"", Coordinate(X(x, one.x[i])), "\" cy=\"",
                    Coordinate(Y(y, one.y[i])), "\"/>");
    }
    svg += "</g>";
  }
  return Concat(svg, Legend(series), "</svg>");
}

std::string Histogram(const std::vector<double>& values, int bins, const PlotOptions& options) {
  std::vector<double> sorted(values);
  std::ranges::sort(sorted);
  if (sorted.empty()) sorted.push_back(0);
  const double low = sorted.front();
  const double high = std::max(
      sorted[static_cast<size_t>(static_cast<double>(sorted.size() - 1) * 0.995)], low + 1e-9);
  std::vector<double> counts(static_cast<size_t>(bins), 0);
  for (double value : sorted) {
    if (value > high) break;
    const double place = (value - low) / (high - low) * bins;
    counts[std::min(static_cast<size_t>(place), counts.size() - 1)] += 1;
  }
  const Series shape{.name = "", .x = {low, high}, .y = {0, std::ranges::max(counts)}, .color = ""};
  const Axis x{.low = low, .high = high, .log = false};
  const Axis y = MakeAxis({shape}, &Series::y, false, true);
  std::string svg = Frame(x, y, options);
  for (size_t i = 0; i < counts.size(); ++i) {
    const double from = low + (high - low) * static_cast<double>(i) / bins;
    const double to = low + (high - low) * static_cast<double>(i + 1) / bins;
    svg += Concat("<rect fill=\"var(--accent)\" x=\"", Coordinate(X(x, from) + 0.5), "\" width=\"",
                  Coordinate(std::max(0.5, X(x, to) - X(x, from) - 1)), "\" y=\"",
                  Coordinate(Y(y, counts[i])), "\" height=\"",
                  Coordinate(Y(y, 0) - Y(y, counts[i])), "\"/>");
  }
  return Concat(svg, "</svg>");
}

std::string BarPlot(const std::vector<Bar>& bars) {
  constexpr double kRow = 26;
  constexpr double kNames = 170;
  constexpr double kTexts = 120;
  double longest = 0;
  for (const Bar& bar : bars) longest = std::max(longest, bar.value);
  const double height = kRow * static_cast<double>(bars.size()) + 6;
  std::string svg = Concat("<svg viewBox=\"0 0 ", Coordinate(kWidth), " ", Coordinate(height),
                           "\" role=\"img\">");
  double y = 4;
  for (const Bar& bar : bars) {
    const double width = longest > 0 ? (kWidth - kNames - kTexts) * bar.value / longest : 0;
    svg += Text(kNames - 8, y + 15, "end", bar.name);
    svg += Concat("<rect rx=\"2\" fill=\"", bar.color, "\" x=\"", Coordinate(kNames), "\" y=\"",
                  Coordinate(y + 2), "\" height=\"18\" width=\"", Coordinate(std::max(1.0, width)),
                  "\"/>");
    svg += Text(kNames + width + 6, y + 15, "start", bar.text);
    y += kRow;
  }
  return Concat(svg, "</svg>");
}

}  // namespace gnomon::demo
