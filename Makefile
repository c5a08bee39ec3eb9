# One command each; longer recipes are in scripts/. `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help image run demo test test-long test-python test-python-matrix test-matrix test-container bench-instructions test-asan test-memcheck fuzz lint bench bench-python plots build dist test-dist release clean

# rustup puts cargo there. A shell that was started before does not know it.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  NO_INSTALL=1          never install packages, say which are missing'
	@echo '  REDIS_SERVER=/path    the server to use, instead of redis-server in the path'

run: ## Start a server with the module on 127.0.0.1:6379 (PORT=, CONF= to change); installs what is missing
	@scripts/run

demo: ## Walk through the commands on a private server
	@scripts/demo

test: ## Run every test but the long ones; installs what is missing
	@scripts/test

test-long: ## Run the long ones: what a server does to every command alike, and an hour of random cases (MINUTES=60, SERVERS=)
	@scripts/test --long

test-python: ## Run the tests of integrations/python only
	@scripts/python test

test-python-matrix: ## Run the tests of its adapters with the oldest releases of what they adapt, of redis-py and Python, and with the newest
	@scripts/python matrix

test-matrix: ## Run what starts servers, with the library of packages, on Debian's Redis and Valkey, on musl and an old glibc (SERVERS=)
	@scripts/server-matrix $(SERVERS)

test-container: ## Build the image and test it: every command in a container, the image, compose.yaml; skipped without Docker
	@scripts/test-container

bench-instructions: ## Count instructions and allocations of each command, compare with the baseline (UPDATE=1 to write it)
	@scripts/bench-instructions

test-asan: ## Run tests with AddressSanitizer in module and server, which must find no fault of memory; skipped without nightly Rust
	@scripts/test-memory address

test-memcheck: ## Run tests in a server under valgrind, which must find no fault of memory
	@scripts/test-memory memcheck

fuzz: ## Try random bytes and commands on the algorithms, with libFuzzer (FUZZ_SECONDS=30 a target); skipped without nightly Rust
	@scripts/fuzz

lint: ## Check formatting, clippy and rustdoc, with warnings as errors, crates, Python, shell, and links in documents
	@scripts/lint

bench: ## Measure the commands beside what people use today, and write docs/benchmarks.md (FULL=1, SERVERS=, PEER_MODULE=)
	@scripts/bench

bench-python: ## Measure the Python package beside what its users have today, and write that part of docs/benchmarks.md (ARGUMENTS=)
	@scripts/python bench --write ../../docs/benchmarks.md $(ARGUMENTS)

plots: ## Run the algorithms under bursts, overload and retries, and draw docs/pictures/ (Python 3.11 or later)
	@scripts/plots

build: ## Build the release library
	@scripts/require cargo build
	cargo build --release --locked

image: ## Build the container image redis-ratelimit (IMAGE=, SERVER_IMAGE=, BUILD_IMAGE=, or BASE=debian SERVER=, to change)
	@scripts/image

dist: ## Make packages in dist/: an archive for Linux, for Debian and Ubuntu, for RHEL and Fedora (ARCH="amd64 arm64")
	@scripts/dist $(ARCH)

test-dist: ## Make the packages, and install, load, upgrade and remove them on Debian's own servers, in systems of their own (root)
	@scripts/test-dist

release: ## Make a release of what is checked out: VERSION=x.y.z; commits and tags, publishes nothing
	@scripts/release $(VERSION)

clean: ## Remove what was built
	cargo clean
	rm -rf dist
