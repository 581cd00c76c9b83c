# Targets named in the README. Every target is repeatable, and works offline after its first run.

SHELL := /bin/bash
DATA  := skyd-data
# Folder in which cargo builds, which CARGO_TARGET_DIR may set.
TARGET = $(shell scripts/target-dir)
VENV   = $(TARGET)/venv

.PHONY: deps run test web test-page python wheel bench bench-fanout bench-agents fuzz attack soak

# Checks the version of Rust, and installs missing system packages as root or with passwordless sudo;
# else prints the command to run.
deps:
	@scripts/rust-version
	@scripts/deps build

run: deps
	cargo build --release -p skyd
	@scripts/start $(TARGET)/release/skyd $(DATA)

# Runs all tests. SKIP_PAGE=1 omits the tests of the page in browsers.
test:
	@scripts/rust-version
	@scripts/deps build test live $(if $(SKIP_PAGE),,page)
	cargo test --workspace --exclude skypy
	@scripts/ignored-tests
	@examples/questions.sh $(TARGET)/debug/skyd
	@scripts/web test
	@$(if $(SKIP_PAGE),echo "web: browser tests SKIPPED: SKIP_PAGE is set",PAGE_SLOWNESS=3 scripts/web browser)
	@$(MAKE) --no-print-directory python

# Builds the web page with Node.js. Its result is committed, so that cargo alone builds the daemon.
web:
	@scripts/web build

# Tests the web page in a real Chromium, and in Firefox if it is installed; needs root and at least five
# minutes.
test-page:
	@scripts/deps build test page
	cargo build -p skyd
	@scripts/web browser

# Builds the Python package with maturin into a separate virtual environment, and the daemon, and runs
# the Python tests.
python:
	@scripts/python $(VENV)

# Builds a Python wheel that needs no system library, into the folder wheels of the target folder.
wheel:
	@scripts/wheel $(VENV)

bench:
	cargo bench -p benches

# Measures frames per second to many WebSocket clients; compares with gorilla/websocket if Go is
# installed.
bench-fanout:
	cargo build --release -p skyd
	@scripts/bench-fanout

# Measures an analyzer under the load of a thousand simulated agents; parameters: benches/agents/main.rs.
bench-agents:
	cargo build --release -p skyd
	SKYD=$${CARGO_TARGET_DIR:-target}/release/skyd cargo bench -q -p benches --bench agents

# Fuzzes each target for a minute; set FUZZ_SECONDS for another duration.
fuzz:
	@scripts/fuzz

# Attacks the daemon: memory, fairness, what browsers and publishers may do. Each attack asserts a limit.
attack:
	@scripts/deps build test
	cargo build -p skyd
	@scripts/attack $(VENV)

# Runs a mixed load for 15 minutes; compares memory, descriptors, and threads at its start and end.
SOAK_SECONDS := 900
soak:
	cargo build -p skyd
	SKYD=$${SKYD:-$(TARGET)/debug/skyd} python3 skyd/tests/attack/soak.py $(SOAK_SECONDS)
