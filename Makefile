# All tasks of this repository; `make help` lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

GO ?= go
# These tags leave out parts of libraries that nothing here uses: gin's msgpack, and
# grpc's golang.org/x/net/trace, which keeps the linker from removing unused methods.
# Only this file names them: other scripts call make.
TAGS := nomsgpack,grpcnotrace
# All that is compiled here has the flags of the programs, and of functions, so that each
# package is compiled once for all of them.
export CGO_ENABLED := 0
export GOFLAGS := $(strip $(shell $(GO) env GOFLAGS) -trimpath -tags=$(TAGS))
# -w leaves out the tables for debuggers, a quarter of each program. Panics, profiles
# and symbols do not need them.
GOBUILD = $(GO) build -ldflags=-w

# The folder of the programs.
BIN ?= bin

LINT_VERSION := v2.15.0
LINT := bin/tools/golangci-lint-$(LINT_VERSION)
NFPM_VERSION := v2.45.2
NFPM := bin/tools/nfpm-$(NFPM_VERSION)
PACKAGES ?= deb rpm
# Examples with a go.mod of their own, which `./...` leaves out.
MODULES := $(patsubst %/go.mod,%,$(wildcard example/*/go.mod))

SHIPPED := remote/build/modules/proxy

FUZZTIME ?= 20s

##@ Build

.PHONY: build
build: $(SHIPPED) ## all three programs, into bin/ (the default)
	@echo "building agent, proxy and proxyCli: a minute or two when nothing is compiled yet"
	$(GOBUILD) -o $(BIN)/ ./cmd/agent ./cmd/proxy ./cmd/proxyCli

.PHONY: remote
remote: $(SHIPPED) ## bin/agent, which builds and runs functions on its machine
	$(GOBUILD) -o $(BIN)/agent ./cmd/agent

# The agent contains the modules that every function is built with, so that builds need
# no network.
$(SHIPPED): remote/funcfw/framework.sum remote/build/modules.sh
	@echo "fetching the modules of functions"
	@sh remote/build/modules.sh $@
	@touch $@

.PHONY: proxy
proxy: ## bin/proxy, the gateway to the functions of many agents
	$(GOBUILD) -o $(BIN)/proxy ./cmd/proxy

.PHONY: cli
cli: ## bin/proxyCli, which deploys functions and looks after them
	$(GOBUILD) -o $(BIN)/proxyCli ./cmd/proxyCli

.PHONY: release
release: $(SHIPPED) $(if $(PACKAGES),$(NFPM)) ## archives, packages, sums and lists of modules of all platforms, into bin/release; PLATFORMS=linux/amd64, PACKAGES= for none
	$(GO) run ./dist/release -tags $(TAGS) $(if $(PACKAGES),-nfpm $(NFPM)) -out $(BIN)/release $(if $(PLATFORMS),-platforms $(PLATFORMS))

.PHONY: clean
clean: ## remove the programs (but not bin/tools)
	rm -rf bin/agent bin/proxy bin/proxyCli bin/release

##@ Try

.PHONY: demo
demo: build ## deploy example/hello to an agent and a proxy of its own, and call it
	@bench/demo

.PHONY: bench
bench: ## the figures of docs/figures.md, beside nginx, in some minutes; QUICK=-quick for a look
	$(GO) run ./bench $(QUICK)

.PHONY: conformance
conformance: ## docs/conformance.md: the gateway's behaviour beside nginx's and haproxy's (Debian: nginx-light, haproxy)
	$(GO) test -count=1 -run TestCompare ./proxy/gateway/conformance -compare

##@ Check

# More packages are tested at a time than there are processors: many tests wait for
# processes or time limits most of the time.
AT_ONCE = $(shell expr 2 '*' "$$(getconf _NPROCESSORS_ONLN)")
TEST = $(GO) test -p $(AT_ONCE) -timeout 20m

.PHONY: test
test: $(SHIPPED) ## all tests
	$(TEST) ./...
	@for m in $(MODULES); do (cd $$m && $(TEST) ./...); done

RACE ?= ./...
.PHONY: race
race: ## all tests, under the race detector; SHORT=-short: fewer, of cmd/e2e those under load; RACE=PACKAGES
	CGO_ENABLED=1 $(GO) test -race $(SHORT) $(RACE)
	@[ "$(RACE)" != ./... ] || for m in $(MODULES); do (cd $$m && CGO_ENABLED=1 $(GO) test -race $(SHORT) ./...); done

.PHONY: soak
soak: ## redeploys, crashes, kills and upgrades of the agent, machines that vanish, losses of power, crowds of connections, and ten times too many calls, for minutes
	E2E_SOAK=1 $(GO) test -count=1 -v -timeout 10m -run 'TestNothingThatWasAcknowledged|TestCluster' ./proxy/store
	E2E_SOAK=1 $(GO) test -count=1 -v -timeout 20m -run 'TestAnOverloaded' ./proxy/gateway
	E2E_SOAK=1 $(GO) test -count=1 -v -timeout 20m -run 'TestManyFunctions' ./proxy
	E2E_SOAK=1 $(GO) test -count=1 -v -timeout 20m -run 'TestADay' ./proxy/scale
	E2E_SOAK=1 $(GO) test -count=1 -v -timeout 60m -run 'TestLife|TestTwoProxies|TestDrain|KilledAtEveryStep|UnderLoad' ./cmd/e2e

.PHONY: h2spec
h2spec: bin/tools/h2spec ## HTTP/2: nothing fails that Go's own server passes
	$(GO) test -count=1 -run TestHTTP2 ./proxy/gateway/conformance -h2spec "$(CURDIR)/$<"

bin/tools/h2spec:
	$(INSTALL) github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible

# The targets of a package are one program: to make it takes longer than most of them. It looks
# which code an input reaches; GUIDED= leaves that out, for which all would be compiled again, and
# which a few inputs do not need.
GUIDED ?= -fuzz .
.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (20s); FUZZ=FLAGS of its program
	@program=$$(mktemp); trap 'rm -f "$$program"' EXIT; cache=$$($(GO) env GOCACHE)/fuzz; \
	grep -rlE --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r dir; do \
		$(GO) test -c $(GUIDED) -o "$$program" "$$dir"; \
		grep -hoE '^func Fuzz[A-Za-z0-9_]*' "$$dir"/*_test.go | sed 's/^func //' | while read -r name; do \
			echo "$$dir $$name"; \
			(cd "$$dir" && "$$program" -test.run '^$$' -test.fuzz "^$$name\$$" -test.fuzztime $(FUZZTIME) \
				$(FUZZ) -test.fuzzcachedir "$$cache/$$($(GO) list)" </dev/null); \
		done; \
	done

.PHONY: lint
lint: $(LINT) ## linters, and which package may import which
	$(LINT) run ./...
	@for m in $(MODULES); do (cd $$m && "$(CURDIR)/$(LINT)" run -c "$(CURDIR)/.golangci.yml" ./...); done
	@.ci/arch $(LINT)

.PHONY: vuln
vuln: build ## known faults in linked modules; fails if a newer version mends one
	@$(GO) run ./.ci/vuln bin/agent bin/proxy bin/proxyCli

.PHONY: fmt
fmt: $(LINT) ## format all Go files
	$(LINT) fmt

.PHONY: generate
generate: ## make the generated files anew (needs protoc)
	$(GO) generate ./...

.PHONY: generate-check
generate-check: ## fail when generating changes a file
	@files() { git ls-files -z --cached --others --exclude-standard | xargs -0 sha256sum; }; \
	before=$$(files); \
	$(GO) generate ./...; \
	diff <(echo "$$before") <(files)

.PHONY: tidy-check
tidy-check: ## fail when go mod tidy would change a go.mod or go.sum
	@for m in . $(MODULES); do (cd $$m && $(GO) mod tidy -diff); done

INSTALL = GOBIN="$(CURDIR)/bin/tools" GOFLAGS="-trimpath -ldflags=-w" $(GO) install

.PHONY: tools
tools: $(LINT) $(NFPM) bin/tools/h2spec ## what lint, release and h2spec need, into bin/tools

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(LINT):
	@echo "building golangci-lint $(LINT_VERSION), once, in about two minutes"
	@mkdir -p bin/tools
	$(INSTALL) github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@mv bin/tools/golangci-lint $@

$(NFPM):
	@echo "building nfpm $(NFPM_VERSION), once, in about a minute"
	@mkdir -p bin/tools
	$(INSTALL) github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM_VERSION)
	@mv bin/tools/nfpm $@
