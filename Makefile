# linkerd-gateway. `make help` lists the targets.

CARGO ?= cargo
# Tests wait more than they compute: more threads than cores.
TEST_THREADS ?= 8
FUZZ_SECONDS ?= 60
IMAGE ?= linkerd-gateway
SOAK_SECONDS ?= 3600
BINARY = target/release/linkerd-gateway

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: certs-dev/ca.crt ## Build in release mode and run the demo gateway on 4143 and 4191
	$(BINARY) demo $(ARGS)

certs-dev/ca.crt: | build
	@test -f $@ || $(BINARY) certs --out certs-dev

.PHONY: build
build: ## Build in release mode
	$(CARGO) build --release

.PHONY: test
test: ## Run every test
	tests/setup.sh
	$(CARGO) test -- --test-threads $(TEST_THREADS)

# The suites whose bytes pass the record layer; a minute.
DATA_PATH = certificates churn connect drain gateway http http_grpc interop relay routes wire

.PHONY: test-rustls
test-rustls: ## Run the data path's tests with rustls' record layer (record_layer = "rustls")
	tests/setup.sh
	LINKERD_GATEWAY_GATEWAY__RECORD_LAYER=rustls $(CARGO) test $(DATA_PATH:%=--test %) \
		-- --test-threads $(TEST_THREADS)

.PHONY: test-long
test-long: ## Run the tests that take minutes
	tests/setup.sh
	$(CARGO) test -- --ignored --skip soak --test-threads 1 --nocapture

.PHONY: test-cluster
test-cluster: ## Run the mirror's stories between two real clusters: WEST=kubeconfig EAST=kubeconfig
	$(if $(and $(WEST),$(EAST)),,$(error make test-cluster WEST=<kubeconfig> EAST=<kubeconfig>))
	WEST=$(WEST) EAST=$(EAST) REQUIRE_ALL=1 $(CARGO) test --test clusters -- --ignored --nocapture

# What validation refuses, the fake API server must refuse as the real one does. Not comparable are
# addresses in slices (1.20 looks less closely), and what only the fake can do.
.PHONY: test-apiserver
test-apiserver: ## Run test-cluster between two real API servers, built from Debian's source (root, 5 min)
	tests/apiserver/build.sh
	$(CARGO) test --no-run --test clusters --test fake_api
	tests/apiserver/run.sh sh -c '$(MAKE) test-cluster && APISERVER=$$EAST $(CARGO) test \
		--test fake_api validation:: -- --test-threads 1 --skip loopback --skip slices --skip events_say'

.PHONY: soak
soak: ## Mixed load for SOAK_SECONDS (3600): lost bytes, memory slope, descriptors
	SOAK_SECONDS=$(SOAK_SECONDS) $(CARGO) test --release --test soak -- --ignored --nocapture

.PHONY: image
image: ## Build the container image IMAGE (linkerd-gateway)
	$(or $(shell command -v docker || command -v podman || command -v buildah), \
		$(error make image needs docker, podman or buildah)) build --tag $(IMAGE) .

.PHONY: image-test
image-test: ## Build the image without a container engine, and run it (as root, minutes)
	tests/image/build.sh

.PHONY: bench
bench: ## Compare cost, latency and memory with peers (17 minutes; ARGS=--quick: two)
	$(CARGO) bench --bench compare -- $(ARGS)
	$(CARGO) bench --bench http -- $(ARGS)

.PHONY: bench-http
bench-http: ## Only what requests cost, HTTP/2 to HTTP/1.1 and to HTTP/2 (5 minutes)
	$(CARGO) bench --bench http -- $(ARGS)

.PHONY: bench-peers
bench-peers: ## Install HAProxy, nginx and Envoy for `make bench`
	benches/setup.sh peers

.PHONY: bench-smoke
bench-smoke: ## Fail when our system calls or instructions per unit exceed the budget
	benches/setup.sh
	$(CARGO) bench --bench compare -- --smoke $(ARGS)

.PHONY: bench-mirror
bench-mirror: ## What the mirror costs: 10,000 Services over 10 Links (ARGS=--quick: 1,000 over 2)
	$(CARGO) bench --bench mirror -- $(ARGS)

.PHONY: bench-micro
bench-micro: ## What single steps cost, by criterion
	$(CARGO) bench --bench micro -- $(ARGS)

.PHONY: fuzz
fuzz: ## Fuzz every parser for FUZZ_SECONDS each (60)
	FUZZ_SECONDS=$(FUZZ_SECONDS) fuzz/run.sh

.PHONY: fuzz-check
fuzz-check: ## Check that the fuzz targets compile
	$(CARGO) clippy --manifest-path fuzz/Cargo.toml -- -D warnings

.PHONY: fmt
fmt: ## Check the formatting
	$(CARGO) fmt --all --check

.PHONY: lint
lint: ## Clippy, warnings are errors
	$(CARGO) clippy --all-targets -- -D warnings

.PHONY: doc
doc: ## Build the documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps

.PHONY: deny
deny: ## Check licences, sources, duplicates and advisories of dependencies
	config/deny.sh

.PHONY: check
check: fmt lint doc deny fuzz-check test test-rustls ## Every gate
