# mod_audio_stream. `make` alone prints what there is to make.

CARGO ?= cargo
# Where FreeSWITCH is: FREESWITCH_PREFIX (the first, where several are named), else what pkg-config, fs_cli or PATH tell.
PREFIX ?= $(firstword $(subst :, ,$(FREESWITCH_PREFIX)))
# Where the module and its configuration go, if they should go elsewhere than to that FreeSWITCH.
MODDIR ?=
CONFDIR ?=
DESTDIR ?=
# How many FreeSWITCHes the end-to-end tests run side by side; more than the cores can serve in time makes cases fail.
FREESWITCH_JOBS ?= 1

TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)
TRIPLE = $(shell rustc -vV | sed -n 's/^host: //p')
BUILT = $(TARGET_DIR)/release/libmod_audio_stream.so
# What ships: the module without symbols, and the symbols beside it.
SHIP = $(TARGET_DIR)/ship
PACKAGES = $(TARGET_DIR)/packages

.DEFAULT_GOAL := help
.PHONY: help deps deps-sip build test test-freeswitch test-cluster loom fuzz soak sanitize asan tsan memcheck helgrind bench bench-freeswitch demo demo-ai examples install uninstall deb rpm fmt lint clean

help: ## Print this
	@echo "mod_audio_stream: streams the audio of FreeSWITCH calls to WebSocket servers and back."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  FREESWITCH_PREFIX=/usr/local/freeswitch   the FreeSWITCH to test with and to install into"
	@echo "  FREESWITCH_JOBS=2                        how many FreeSWITCHes the tests run at a time (1)"
	@echo "  MINUTES=60 SEED=7                         how long the soak lasts, and what happens in it (else drawn, and printed)"
	@echo "  REQUIRE_FREESWITCH=1                      tests fail where there is no FreeSWITCH instead of skipping it"

deps: ## Install what the build needs and is missing (Debian, Ubuntu)
	@.ci/deps build

deps-sip: deps

build: deps ## Build the module: target/release/libmod_audio_stream.so
	$(CARGO) build --release --lib

# The demonstrations, which cargo would build here too, are for `make lint` to check and `make demo` to run.
test: deps ## Run every test that can run here; FreeSWITCH's where there is one
	$(CARGO) test --no-fail-fast --lib --tests
	$(CARGO) test --doc
	$(MAKE) --no-print-directory loom

test-freeswitch: deps-sip ## Run the end-to-end tests in the installed FreeSWITCH, and fail where there is none
	REQUIRE_FREESWITCH=1 FREESWITCH_JOBS=$(FREESWITCH_JOBS) $(CARGO) test --test freeswitch --test abi_layout -- --test-threads=$(FREESWITCH_JOBS)

# Skipped with a message where there is no Kamailio (Debian's package kamailio).
test-cluster: deps-sip ## Upgrade two FreeSWITCHes behind Kamailio one after the other, while calls come in
	REQUIRE_FREESWITCH=1 $(CARGO) test --test freeswitch -- --test-threads=1 a_rolling_upgrade

# For the named target, so that the flag reaches our code and not the build scripts. The models are optimised as in a release,
# without its link-time optimisation.
loom: deps ## Explore all interleavings of the flush watermark and the rings' ends
	RUSTFLAGS="--cfg loom" CARGO_PROFILE_DEV_OPT_LEVEL=3 $(CARGO) test --target $(TRIPLE) --test loom_flush

# Counters at every branch, for the parsers and what they call; debug assertions and checks for overflow stay on. In a folder of its
# own, since the flags would have everything built again.
fuzz: deps ## Fuzz every parser for SECONDS each (60): inputs that reach new code are kept in target/fuzz
	RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters" \
	CARGO_PROFILE_DEV_OPT_LEVEL=1 FUZZ_SECONDS=$(or $(SECONDS),60) \
	$(CARGO) test --target $(TRIPLE) --target-dir '$(TARGET_DIR)/fuzz' --test fuzz -- --test-threads=1

soak: deps ## Run calls beside misbehaving servers for MINUTES (3), and see what grows or is lost: target/soak/report.html
	SOAK_MINUTES='$(MINUTES)' SOAK_SEED='$(SEED)' $(CARGO) run --release --example soak

# One after another, since each wants the whole machine. What is not installed is skipped and named.
sanitize: asan memcheck tsan helgrind ## Run the tests under AddressSanitizer, valgrind and ThreadSanitizer

asan: deps ## Run unit, socket and stand-in tests under AddressSanitizer (target/sanitize)
	@tests/sanitize/run address

tsan: deps ## Run unit and stand-in tests under ThreadSanitizer: needs nightly Rust with rust-src
	@tests/sanitize/run thread

memcheck: deps ## Run stand-in tests under valgrind's memcheck
	@tests/sanitize/run memcheck

helgrind: deps ## Run stand-in tests under valgrind's helgrind
	@tests/sanitize/run helgrind

bench: deps ## Time the callbacks, rings, resampler, messages and text; what 300 conversations cost
	$(CARGO) bench --bench media --bench dsp --bench text --bench conversations

bench-freeswitch: deps ## Measure CPU, memory and callbacks per stream in the installed FreeSWITCH
	REQUIRE_FREESWITCH=1 $(CARGO) bench --bench freeswitch

demo: deps ## Place a call and look at it: target/demo/report.html
	$(CARGO) run --release --example demo

demo-ai: deps ## Talk with an agent on a scripted server and look at it: target/demo/ai.html
	$(CARGO) run --release --example demo_ai

# The packages are whatever the system's package indexes give; nothing of them is part of the module.
EXAMPLES = $(abspath $(TARGET_DIR))/examples
examples: deps ## Run the servers of examples/ on calls: installs what they need into target/examples
	@command -v npm >/dev/null && command -v python3 >/dev/null || { echo "missing here: npm (Node) or python3"; exit 1; }
	[ -x '$(EXAMPLES)/venv/bin/python3' ] || python3 -m venv '$(EXAMPLES)/venv'
	'$(EXAMPLES)/venv/bin/python3' -m pip install --quiet 'websockets>=13' uvicorn 'pipecat-ai[websocket]>=1.3,<2'
	npm install --silent --no-fund --no-audit --prefix '$(EXAMPLES)/node' ws@8
	REQUIRE_EXAMPLES=1 EXAMPLES_PYTHON='$(EXAMPLES)/venv/bin/python3' NODE_PATH='$(EXAMPLES)/node/node_modules' \
	$(CARGO) test --test standin examples

install: build ## Install module and configuration into FreeSWITCH
	@packaging/strip '$(BUILT)' '$(SHIP)'
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' MODDIR='$(MODDIR)' CONFDIR='$(CONFDIR)' .ci/install '$(SHIP)/mod_audio_stream.so'

uninstall: ## Take the module out of FreeSWITCH; PURGE=1 its configuration too
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' MODDIR='$(MODDIR)' CONFDIR='$(CONFDIR)' PURGE='$(PURGE)' .ci/uninstall

deb: build ## Make Debian packages: target/packages/*.deb
	@MODDIR='$(MODDIR)' CONFDIR='$(CONFDIR)' packaging/deb '$(BUILT)' '$(PACKAGES)'

rpm: build ## Make an RPM package, where there is rpmbuild: target/packages/*.rpm
	@MODDIR='$(MODDIR)' CONFDIR='$(CONFDIR)' packaging/rpm '$(BUILT)' '$(PACKAGES)'

fmt: ## Format the source
	$(CARGO) fmt

lint: deps ## Check the format, and clippy with warnings as errors
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings

clean: ## Remove what was built
	$(CARGO) clean
