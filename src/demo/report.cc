#include "demo/report.h"

#include "base/files.h"
#include "base/text.h"
#include "base/version.h"
#include "demo/plot.h"

namespace gnomon::demo {
namespace {

constexpr std::string_view kStyle = R"css(
:root { --ink:#1d2733; --soft:#5b6b7c; --line:#dfe5ec; --paper:#fff; --page:#f4f6f9; --accent:#c8762b; --second:#2b6cb0;
        --third:#8795a5; }
* { box-sizing:border-box; }
body { margin:0; font:15px/1.5 system-ui,"DejaVu Sans",sans-serif; color:var(--ink); background:var(--page); }
main { max-width:1240px; margin:0 auto; padding:28px 20px 40px; }
h1 { font-size:27px; margin:0 0 4px; } h2 { font-size:17px; margin:0 0 4px; }
p { margin:0 0 10px; color:var(--soft); }
.figures { display:flex; flex-wrap:wrap; gap:14px; margin:18px 0; }
.figure { background:var(--paper); border:1px solid var(--line); border-radius:8px; padding:12px 18px; flex:1 1 150px; }
.figure b { display:block; font-size:23px; white-space:nowrap; } .figure span { color:var(--soft); font-size:13px; }
.sections { display:grid; grid-template-columns:repeat(auto-fit,minmax(480px,1fr)); gap:14px; }
section { background:var(--paper); border:1px solid var(--line); border-radius:8px; padding:16px 18px; }
svg { width:100%; height:auto; font-size:12px; fill:var(--soft); }
.grid { stroke:var(--line); } .axis { stroke:var(--soft); } .label { fill:var(--soft); }
table { border-collapse:collapse; width:100%; font-size:14px; } th { text-align:left; color:var(--soft); font-weight:600; }
td,th { border-bottom:1px solid var(--line); padding:5px 8px 5px 0; }
footer { color:var(--soft); font-size:13px; margin-top:18px; }
@media (max-width:560px) { .sections { grid-template-columns:1fr; } }
)css";

}  // namespace

void Report::AddPlot(std::string heading, std::string caption, std::string svg) {
  sections_ += Concat("<section><h2>", EscapeHtml(heading), "</h2><p>", EscapeHtml(caption), "</p>",
                      svg, "</section>\n");
}

void Report::AddTable(std::string heading, std::string caption,
                      const std::vector<std::string>& header,
                      const std::vector<std::vector<std::string>>& rows) {
  std::string table = "<table><tr>";
  for (const std::string& cell : header) table += Concat("<th>", EscapeHtml(cell), "</th>");
  table += "</tr>";
  for (const auto& row : rows) {
    table += "<tr>";
    for (const std::string& cell : row) table += Concat("<td>", EscapeHtml(cell), "</td>");
    table += "</tr>";
  }
  AddPlot(std::move(heading), std::move(caption), Concat(table, "</table>"));
}

std::string Report::ToHtml() const {
  std::string figures;
  for (const auto& [value, name] : figures_) {
    figures += Concat("<div class=\"figure\"><b>", EscapeHtml(value), "</b><span>",
                      EscapeHtml(name), "</span></div>");
  }
  return Concat(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>",
      EscapeHtml(title_), "</title><style>", kStyle, "</style></head><body><main><h1>",
      EscapeHtml(title_), "</h1><p>", EscapeHtml(subtitle_), "</p><div class=\"figures\">", figures,
      "</div><div class=\"sections\">\n", sections_, "</div><footer>Made by gnomon ", kVersion,
      ". Every figure is of this run.</footer></main></body></html>\n");
}

Status Report::WriteTo(const std::string& path) const { return WriteFileAtomic(path, ToHtml()); }

}  // namespace gnomon::demo
