# `make` alone prints what there is. Nothing here reaches further than cargo's and Go's own registries, but for
# `test-contracts`, which has packages of npm and PyPI too, and for `image` and `e2e`: rustup adds Rust's musl target, and
# root on Debian gets the programs that they lack.
.DEFAULT_GOAL := help
.PHONY: help build image image-again crds reference argocd control-plane lint test test-contracts test-image fuzz demo e2e bench bench-throttle bench-image clean

CARGO ?= cargo
DENY := 0.20.2

# Where cargo puts what it builds.
target := $(or $(CARGO_TARGET_DIR),target)

# Tools that are built once for all checkouts.
tools := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/compliance-partner-operator/tools

help: ## Print this
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the operator for use: target/release/compliance-partner-operator
	$(CARGO) build --locked --release -p compliance-partner-operator

image: ## Build the container image from this checkout: target/image/image.tar; IMAGE=name:tag names it
	@CARGO='$(CARGO)' $(if $(IMAGE),IMAGE='$(IMAGE)') deploy/image/build

image-again: image ## Build the image once more, elsewhere and from nothing, and compare the binaries
	@CARGO='$(CARGO)' deploy/image/again

crds: ## Write crds/ and their template in the chart from the code
	UPDATE_CRDS=1 $(CARGO) test --locked -p compliance-partner-operator --lib api::

reference: ## Write the tables of docs/reference.md from the code
	UPDATE_REFERENCE=1 $(CARGO) test --locked -p compliance-partner-operator --lib api::

argocd: ## Write deploy/argocd/argocd-cm.yaml from the scripts beside it
	UPDATE_ARGOCD=1 $(CARGO) test --locked -p integration --test it argocd::documents

# $KUBEBUILDER_ASSETS, the user's cache, or a build from the Go modules.
control-plane: ## Bring kube-apiserver, etcd, kubectl and kube-controller-manager here, and print where they are
	@tests/control-plane/ensure

lint: ## Check format, lints, and the licences, duplicates and sources of dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy --workspace --test contracts --test image --test rights --locked -- -D warnings
	@if [ "$$('$(tools)/bin/cargo-deny' --version 2>/dev/null)" != 'cargo-deny $(DENY)' ]; then \
		echo 'lint: building cargo-deny $(DENY) into $(tools): once, one to three minutes' >&2; \
		$(CARGO) install --locked --force --debug --version '$(DENY)' --root '$(tools)' cargo-deny; \
	fi
	'$(tools)/bin/cargo-deny' --workspace --locked check -D unmatched-skip -D unnecessary-skip bans licenses sources

# Most of the integration tests' time is spent waiting: more of them at once than there are cores. What they ask of API
# servers is kept, and held against the operator's rights when all have ended.
test: export RUST_TEST_THREADS ?= 4
test: ## Run all tests, on a real Kubernetes API server and a simulator of Graph; the last line sums them up
	$(CARGO) build --locked --workspace --bins --tests
	$(CARGO) build --locked --workspace --test rights
	@tests/control-plane/ensure >/dev/null
	@tests/kstatus/ensure >/dev/null
	@tests/helm/ensure >/dev/null
	@tests/argocd/ensure >/dev/null
	@rm -rf '$(target)/audit' && mkdir -p '$(target)/audit'
	$(call run-tests,test,\
		export AUDIT_LOGS="$$(cd '$(target)/audit' && pwd)"; \
		$(CARGO) test --locked --workspace --no-fail-fast || status=$$?; \
		$(CARGO) test --locked --workspace --test rights)

# The same packages as in `test`, so that nothing is built twice.
test-contracts: export RUST_TEST_THREADS ?= 4
test-contracts: ## Hold operator and simulator against what Microsoft and others wrote; takes Node.js 20 and Python 3.11
	@tests/contracts/ensure >/dev/null
	$(CARGO) build --locked --workspace --bins
	@tests/control-plane/ensure >/dev/null
	$(call run-tests,contracts,$(CARGO) test --locked --workspace --test contracts)

# As `make image` has left it. It takes root, or user namespaces that anybody may make.
test-image: export RUST_TEST_THREADS ?= 4
test-image: image ## Look into the container image, and run what is in it as a pod would
	$(CARGO) build --locked --workspace --bins
	@tests/control-plane/ensure >/dev/null
	$(call run-tests,image,$(CARGO) test --locked --workspace --test image)

# $(call run-tests,NAME,COMMANDS): runs them, keeps what they print in NAME.log, and sums it up. Ends as the last one does,
# or, where that goes well, with the `status` that one before it has set.
define run-tests
@mkdir -p '$(target)' && rm -f '$(target)/$(1).status'
@{ status=0; $(2) || status=$$?; echo $$status >'$(target)/$(1).status'; } | tee '$(target)/$(1).log'; \
awk -v status="$$(cat '$(target)/$(1).status')" "$$SUM_UP" '$(target)/$(1).log'
endef

# Sums up cargo's "test result:" lines, and ends as cargo did. A test binary that dies leaves no such line.
define SUM_UP
/^test result: / {
	for (word = 2; word < NF; word++) {
		if ($$(word + 1) == "passed;") passed += $$word
		if ($$(word + 1) == "failed;") failed += $$word
		if ($$(word + 1) == "ignored;") skipped += $$word
	}
}
END {
	if (passed + failed == 0) { print "no test was run"; exit status ? status : 1 }
	if (status != 0 && !failed) { print "a test binary did not end well: see above"; failed = 1 }
	printf "\n%d passed, %d failed%s\n", passed, failed, skipped ? ", " skipped " skipped" : ""
	exit status
}
endef
export SUM_UP

fuzz: ## Try the decoders of foreign answers with inputs that libFuzzer thinks of, FUZZ_SECONDS (300) each; FUZZ_ONLY=name takes some
	@CARGO='$(CARGO)' tests/fuzz/run

# Ends with whoever started it, also when that is killed.
leash = '$(target)/debug/leash' --

# A held demo has the terminal to itself: ctrl-c ends it, and make sees it end well.
demo: ## Watch one partner being synced, on a simulator of Graph; HOLD=1 keeps it up to try things
	$(CARGO) build --locked --workspace --bins
	@tests/control-plane/ensure >/dev/null
	@$(if $(HOLD),$(leash) sh -c 'set -m 2>/dev/null; "$$@"; exit $$?' hold) $(leash) '$(target)/debug/demo'

# The image is built where the node is made here; another cluster has its own. The program says what is missing.
e2e: ## Install image and chart on a node with real pods (root, Linux) or on any cluster; upgrade, kill, uninstall
	$(CARGO) build --locked --workspace --bins
	@$(leash) '$(target)/debug/e2e' --possible
	@tests/control-plane/ensure >/dev/null
	@tests/helm/ensure >/dev/null
	@[ -n "$$E2E_IMAGE" ] || { tests/node/ensure && $(MAKE) --no-print-directory image IMAGE=; } >/dev/null
	@$(leash) '$(target)/debug/e2e' '$(target)/image/image.tar'

# The operator alone, so that no other package's features get into it. Fat LTO takes its minutes.
bench: ## Measure the release build: prints the table of README.md; BENCH_ONLY=name takes some of its measures
	$(CARGO) build --locked --release -p compliance-partner-operator
	$(CARGO) build --locked --release -p integration --bin leash -p bench --bin bench
	@tests/control-plane/ensure >/dev/null
	@'$(target)/release/bench'

# A thousand writes at a hundred in 20 s are three minutes, however fast the operator is.
bench-throttle: export BENCH_ONLY = throttle
bench-throttle: bench ## Measure a storm of 1,000 edits under Microsoft's limits: prints the second table of README.md

# The measures are taken of a binary that `bench` does not build.
bench-image: image ## Measure the static binary of the container image in the same way
	$(CARGO) build --locked --release -p integration --bin leash -p bench --bin bench
	@tests/control-plane/ensure >/dev/null
	@BENCH_OPERATOR='$(target)/image/compliance-partner-operator' '$(target)/release/bench'

clean: ## Remove what cargo has built; the control plane and tools in the user's cache stay
	$(CARGO) clean
