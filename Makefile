# What the README names. Every target works twice in a row, and offline once everything is there.

SHELL := /bin/bash
VENV  := target/venv
DATA  := skyd-data

.PHONY: deps run test python bench bench-fanout fuzz

# System packages: installed as root or with passwordless sudo, else named with the command.
deps:
	@scripts/deps build

run: deps
	cargo build --release -p skyd
	@scripts/start target/release/skyd $(DATA)

test:
	@scripts/deps build test
	cargo test --workspace --exclude skypy
	@scripts/ignored-tests
	cargo build -p skyd
	@$(MAKE) --no-print-directory python

# The Python package, built by maturin into a virtual environment of its own, and its tests.
python:
	@scripts/python $(VENV)

bench:
	cargo bench -p benches

# Frames a second to many WebSocket clients; beside gorilla/websocket where there is Go.
bench-fanout:
	cargo build --release -p skyd
	@scripts/bench-fanout

# A minute for each target; FUZZ_SECONDS=600 for more.
fuzz:
	@scripts/fuzz
