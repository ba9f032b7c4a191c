# What people do with this tree. Every target works from a fresh clone; `make` alone lists them.
SHELL := /bin/bash
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
GENERATOR ?=
.DEFAULT_GOAL := help
.PHONY: help build demo test bench up health verify logs restart down clean purge

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

build: ## Build the release binaries
	cargo build --release --locked -p braid -p braid-lab

demo: ## Build, start Braid, the lab and traffic, show five live answers; Ctrl-C stops everything
	@lab/demo

test: ## Run every test (needs no server running; ../shared and PyPI are used when they are there)
	cargo test --workspace --locked
	tests/clients/run

bench: ## Measure ingestion beside Prometheus and VictoriaMetrics where they are installed (GENERATOR=path for another generator)
	cargo build --release --locked -p braid -p braid-bench
	$(TARGET)/release/braid-bench ingest --braid $(TARGET)/release/braid $(if $(GENERATOR),--generator $(GENERATOR))

up: build ## Start Braid and the lab in the background
	@lab/ctl up

health: ## Say what is up and what is not
	@lab/ctl health

verify: ## Check a running Braid from outside, after `make up` for instance; BRAID_URL and BRAID_TOKEN name another
	@$(TARGET)/release/braid verify

logs: ## Follow the logs of what `make up` started
	@lab/ctl logs

restart: ## Stop and start again; data stays
	@lab/ctl restart

down: ## Stop what `make up` started; data stays
	@lab/ctl down

clean: down ## Remove build output and logs
	cargo clean
	rm -rf .run/logs

purge: clean ## Remove the demo's data too
	rm -rf .run
