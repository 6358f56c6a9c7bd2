#pragma once

#include <memory>

namespace CLI {
class App;
class FormatterBase;
}  // namespace CLI

/// What `--help` shows beside the flags: groups of commands, examples, exit codes.
namespace gnomon::cli {

/// Commands first, then options, then examples. Set it before commands are added, which inherit it.
std::shared_ptr<CLI::FormatterBase> MakeHelpFormatter();

/// Puts each command into its group and gives it its examples. Call it after all commands have been
/// added; every one of them must be in help.cc.
void AddHelpTexts(CLI::App& app);

}  // namespace gnomon::cli
