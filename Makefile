# Targets named in the README. Every target is repeatable, and works offline after its first run.

SHELL := /bin/bash
VENV  := target/venv
DATA  := skyd-data

.PHONY: deps run test web python bench bench-fanout fuzz

# Installs missing system packages as root or with passwordless sudo; else prints the command to run.
deps:
	@scripts/deps build

run: deps
	cargo build --release -p skyd
	@scripts/start target/release/skyd $(DATA)

test:
	@scripts/deps build test
	cargo test --workspace --exclude skypy
	@scripts/ignored-tests
	@$(MAKE) --no-print-directory python

# Builds the web page with Node.js. Its result is committed, so that cargo alone builds the daemon.
web:
	@scripts/web build

# Builds the Python package with maturin into a separate virtual environment, and the daemon, and runs
# the Python tests.
python:
	@scripts/python $(VENV)

bench:
	cargo bench -p benches

# Measures frames per second to many WebSocket clients; compares with gorilla/websocket if Go is
# installed.
bench-fanout:
	cargo build --release -p skyd
	@scripts/bench-fanout

# Fuzzes each target for a minute; set FUZZ_SECONDS for another duration.
fuzz:
	@scripts/fuzz
