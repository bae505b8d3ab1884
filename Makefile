# A thin wrapper: CMake does the work.  `make help` lists what there is.

BUILD := build/release
MM1   := $(BUILD)/mm1

.PHONY: all deps demo test bench bench-growth check clean help

all: ## build build/release/mm1
	@scripts/install-deps.sh --check || scripts/install-deps.sh
	@cmake --preset release >/dev/null
	@cmake --build $(BUILD) --target mm1

deps: ## install what is missing (Debian packages)
	@scripts/install-deps.sh

demo: all ## real data, a model from nothing, a report: 25 minutes on two cores
	@scripts/demo.sh

test: all ## build and run all tests
	@cmake --build $(BUILD)
	@ctest --test-dir $(BUILD) --output-on-failure --no-tests=error -j2

bench: all ## benchmarks beside their rivals
	@scripts/bench.sh

bench-growth: all ## how a training step grows with each size
	@scripts/bench.sh growth

check: ## what CI runs
	@bash .ci/run

clean: ## remove build/
	@rm -rf build

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16
