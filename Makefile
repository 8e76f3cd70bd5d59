# The only door: every recipe is one line, the logic lives in scripts/ where it can be read and run.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run demo test check verify fmt bench torture fuzz docs clean

help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build the release binary and serve ./godb-data on 127.0.0.1:8080
	@scripts/run.sh

demo: ## 200,000 real documents: import, query, kill -9, restart, compare every one
	@scripts/demo.sh

test: ## Everything; the last line counts it. PARTS="fmt deny" runs only those
	@scripts/test.sh $(PARTS)

check: ## The inner loop: compile everything, quick unit tests, tidy
	@scripts/check.sh

verify: ## Format, lints, licences and advisories, tidy. Writes nothing to the tree
	@scripts/verify.sh

fmt: ## Format the sources
	@cargo fmt --all

bench: ## HTTP beside the null server in interleaved rounds, then the engine alone
	@scripts/bench.sh

torture: ## kill -9, power cuts and 10,000 damages for as long as you like: ROUNDS=200 SEED=7 PARTS="kills cuts damage"
	@scripts/torture.sh

fuzz: ## libFuzzer over every decoder: SECONDS_EACH=60 TARGETS="frame json"
	@scripts/fuzz.sh

docs: ## Write docs/reference/ anew from the binary
	@scripts/docs.sh

clean: ## Remove what the build made; the tool cache stays
	@cargo clean
