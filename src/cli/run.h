#pragma once

namespace gnomon::cli {

/// The program: parses the command line, runs the command, prints errors, gives the exit code
/// (ExitCodeOf). The first SIGINT or SIGTERM stops the command cleanly, the second ends the
/// process.
int Run(int argc, char** argv);

}  // namespace gnomon::cli

/// Run, under the name by which the program finds it in libgnomon.so.
extern "C" int gnomon_main(int argc, char** argv);
