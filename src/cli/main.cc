#include "cli/run.h"

int main(int argc, char** argv) { return gnomon::cli::Run(argc, argv); }
