# The only door: every recipe is one line, the logic lives in scripts/ where it can be read and run.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run demo test check verify fmt bench torture fuzz docs generate chart-docs image cluster cluster-down cluster-shell cluster-load cluster-demo clean

help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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

torture: ## kill -9, power cuts, failing calls, 10,000 damages, for as long as you like: ROUNDS=200 SEED=7 PARTS="kills cuts faults damage"
	@scripts/torture.sh

fuzz: ## libFuzzer over every decoder: SECONDS_EACH=60 TARGETS="frame json"
	@scripts/fuzz.sh

docs: ## Write docs/reference/ anew from the binary
	@scripts/docs.sh

generate: ## Write CRDs and examples anew from the types in crds/src
	@cargo run --locked --quiet --package godb-crds --bin crdgen -- .

chart-docs: ## Write the schema, README and snapshots of charts/godb anew
	@scripts/chart.sh docs

image: ## OCI archives of node and operator, static and non-root, in target/image
	@scripts/image.sh

cluster: ## A real one-node Kubernetes on this machine; the first time builds it (12 min)
	@tests/cluster/lab/start.sh

cluster-down: ## End that cluster and remove all of it
	@tests/cluster/lab/stop.sh

cluster-shell: ## A shell inside of it: kubectl, helm, pods and services reachable
	@tests/cluster/lab/in.sh

cluster-load: ## Give it an image: IMAGE=target/image/godb.tar
	@tests/cluster/lab/load.sh $(IMAGE)

cluster-demo: ## Install, write, tune, kill, drain, grow, upgrade, remove: seconds of each step
	@scripts/cluster-demo.sh

clean: ## Remove what the build made; the tool cache stays
	@cargo clean
