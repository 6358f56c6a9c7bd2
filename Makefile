# Short names for the presets and scripts. `make` alone prints what there is.
.DEFAULT_GOAL := help
.SUFFIXES:

PYTHON := /usr/bin/python3
RELEASE := build/release

# Precompiled headers need these sloppiness rules; the cache itself lies where the user's ccache puts it.
export CCACHE_SLOPPINESS := pch_defines,time_macros
export CCACHE_COMPRESS := true

.PHONY: help setup build demo dev check test sanitize tidy format format-check layers fuzz bench soak lock clean distclean

help: ## print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## install what build and tests need (a second run does no work)
	@tools/setup test

build: ## build the program: build/release/bin/gnomon
	@tools/setup build
	@cmake --preset release
	@cmake --build --preset release --target gnomon

demo: build ## build, then run the sales flow end to end
	@$(RELEASE)/bin/gnomon demo sales

dev: ## build everything with debug symbols in build/dev
	@tools/setup test
	@cmake --preset dev
	@cmake --build --preset dev

check: ## build and run the fast unit tests (under a minute)
	@tools/setup build
	@$(PYTHON) tools/run_tests check

test: ## set up, build and run every test, as the gate does
	@mkdir -p build/test && date +%s >build/test/started
	@tools/setup test feast-background
	@$(PYTHON) tools/run_tests gate

sanitize: ## all tests under AddressSanitizer and UBSan, then under ThreadSanitizer
	@tools/setup test feast
	@$(PYTHON) tools/run_tests sanitize

tidy: ## clang-tidy-16 and clang's thread-safety analysis
	@tools/setup test
	@cmake --preset tidy
	@cmake --build --preset tidy

format: ## format the C++ files with clang-format-16
	@tools/format

format-check: ## fail on C++ files that `make format` would change
	@tools/format --check

layers: ## check the includes against the modules' dependency lists
	@$(PYTHON) tools/check_layers

fuzz: ## every fuzz harness under libFuzzer for SECONDS (60) each; HARNESS=name for one
	@tools/setup build
	@cmake --preset fuzz
	@cmake --build --preset fuzz
	@$(PYTHON) tools/fuzz --seconds $(or $(SECONDS),60) $(HARNESS)

bench: ## build and run the benchmarks
	@tools/setup bench
	@cmake --preset release -DGNOMON_BENCH=ON
	@cmake --build --preset release
	@ctest --test-dir $(RELEASE) -L bench --verbose --no-tests=error

soak: ## the ten-minute soak tests
	@tools/setup test feast
	@cmake --preset release
	@cmake --build --preset release
	@GNOMON_SOAK_SECONDS=600 ctest --test-dir $(RELEASE) -L soak --output-on-failure --no-tests=error

lock: ## resolve deps/*.in anew into the hash-locked deps/*.txt
	@tools/setup build
	@tools/lock

clean: ## remove what was built, keep what was downloaded
	@rm -rf build/release build/dev build/asan build/tsan build/tidy build/fuzz build/ci build/test

distclean: clean ## remove the downloads and the Python environments too
	@rm -rf build .venv .venv-feast .venv-bench
