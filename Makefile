# Everything a developer types. `make help` lists it.

GO ?= go
# A release is named by its tag; any other build is "devel" with its commit.
VERSION := $(shell git describe --tags --exact-match 2>/dev/null)
LDFLAGS := -s -w $(if $(VERSION),-X github.com/cardea-ssh/cardea/internal/version.version=$(VERSION))
BINARIES := $(notdir $(wildcard cmd/*))

# The same matrix as goreleaser.yaml; house_test.go compares them.
PLATFORMS := linux/amd64 linux/arm64
PLATFORMS_cardea := $(PLATFORMS) darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

# Built with the Go toolchain at hand, at exactly this version.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

PROCESSORS := $(shell getconf _NPROCESSORS_ONLN)

# How long `make fuzz` spends on each fuzz test.
FUZZTIME ?= 10s

.PHONY: help build demo packages test soak test-matrix test-packages check static house cross windows enclave bench fuzz clean
.DEFAULT_GOAL := build

help: ## list these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | sed -E 's/:.*## /\t/' | expand -t 12

build: ## build the programs into bin/
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

demo: build ## walk the whole path, from sign-in to a shell, on this machine
	packaging/install-test-needs openssh-server openssh-client sudo passwd iproute2 util-linux procps
	$(GO) build -o bin/ ./demo
	bin/demo

# The Go compiler spends a quarter of its time on garbage if that may not lie about: a
# package of some thousand lines leaves less than the limit. What comes out, and its cache,
# are the same.
QUICK := '-toolexec=env GOGC=off GOMEMLIMIT=1GiB'
test check: export GOFLAGS += $(QUICK)
# The race detector has an ended program wait for a second for other goroutines' races; it
# is told of those when they happen, and there are sixty programs of tests. What it knows of
# the memory, several times as much as that, is zeroed by a tenth of the page faults where
# the pages may be large (internal/buildtest).
test: export GORACE ?= atexit_sleep_ms=0 no_huge_pages_for_shadow=0

# What is compiled for the tests runs for minutes and then lies about: nothing is inlined
# but in the standard library, and no debugger gets its tables, nor any table of symbols,
# which all cost more than they save. SQLite is C made into Go, which every test runs, a third of all their work
# under the race detector and none of it ours; nor is what works out one value from another
# and has no goroutine: Go's curves and hashes, parsers, encodings of text. The programs that
# the tests build are built alike, so that all is compiled once.
C_IN_GO := modernc.org/sqlite/lib modernc.org/libc modernc.org/memory
VALUES := crypto/internal/fips140/... crypto/x509 encoding/asn1 encoding/base32 encoding/base64 math/big net/textproto net/url path regexp/... strconv strings text/template/... unicode/... \
	github.com/go-jose/go-jose/v4/json golang.org/x/crypto/argon2 golang.org/x/crypto/blake2b golang.org/x/net/html
TESTFLAGS := '-ldflags=-s -w' '-gcflags=all=-l -dwarf=false' -gcflags=std=-dwarf=false \
	$(foreach p,$(C_IN_GO) $(VALUES),'-gcflags=$(p)=-race=false -dwarf=false')
test: export GOFLAGS += $(TESTFLAGS)
# Their programs are linked, run once and thrown away, and so are their files: in memory,
# where there is enough and programs may run there.
MEMORY := $(shell findmnt -rnb -o TARGET,OPTIONS,AVAIL -t tmpfs /dev/shm 2>/dev/null | awk '$$2 !~ /noexec/ && $$3 > 4e9 { print $$1; exit }')
test: export GOTMPDIR ?= $(MEMORY)
# What tests run as real processes (internal/buildtest); they look at no file below bin/.
BUILT := $(CURDIR)/bin/tested
# Those that run longest begin first, or the last of them has one processor wait; and one
# more than there are processors, as they wait a fifth of their time.
BESIDE := $(shell expr $(PROCESSORS) + 1)
LONGEST := ./e2e ./server-agent ./control ./store/sqlstore ./packaging ./gateway ./cmd/cardea/cli ./bench
test: ## install what the tests need, then run them all with the race detector
	RACE=yes packaging/install-test-needs
	@mkdir -p $(BUILT)
	$(GO) build -race -o $(BUILT)/ ./cmd/... ./bench ./bench/nodelay
	CARDEA_TEST_BUILT=$(BUILT) $(GO) test -race -vet=off -p $(BESIDE) -timeout 15m $(LONGEST) ./...

# All of them take hours: SOAK=500 tries as many, of those that SEED says;
# SOAK=writes kills, fills and breaks at each write and rename, in half an hour.
SOAK ?= all
soak: ## break the server agent at every write and step, on hosts of its own (SOAK=…, SEED=…)
	packaging/install-test-needs
	CARDEA_SOAK=$(SOAK) CARDEA_SEED=$(SEED) $(GO) test -count=1 -timeout 24h -v -run 'AFaultAtAny|AFullDisk|KilledAnywhere|TroublesOfItsOwn|DaysWithout' ./server-agent

test-matrix: ## the tests that meet a host's programs, on Debian 11 to unstable (SUITES=…)
	GO=$(GO) .ci/matrix $(SUITES)

test-packages: ## install, upgrade, remove and purge packages on Debian 11 to unstable (SUITES=…)
	GO=$(GO) .ci/packages $(SUITES)

packages: ## deb, rpm and apk of VERSION=1.2.3 into dist/, without goreleaser
	$(GO) run ./packaging $(if $(VERSION),-version $(VERSION:v%=%))

# All that looks at the code shares what is compiled for it with the programs as they are
# released here: none of them is C. For other platforms what counts is that they build.
check: export CGO_ENABLED := 0
check: export GOFLAGS += -trimpath
check: ## format, vet, static analysis, module sums, floors, and every platform's build
	@bad=$$(gofmt -l $$(find . -name '*.go' -not -path './.*' -not -path '*/testdata/*')); [ -z "$$bad" ] || { echo "not formatted, run gofmt -w on: $$bad"; exit 1; }
	$(GO) mod verify
	$(GO) vet ./...
	$(MAKE) --no-print-directory -j $(PROCESSORS) cross static house windows enclave

# It reads all that is imported, once, and then lies about, too.
static: export GOGC ?= off
static: export GOMEMLIMIT ?= 2GiB
static:
	$(GO) run $(STATICCHECK) ./...

house:
	$(GO) test .

cross: $(addprefix cross/,$(PLATFORMS_cardea)) ## build every program for each of its platforms

HOST = $(shell $(GO) env GOHOSTOS)/$(shell $(GO) env GOHOSTARCH)
SHORT := '-gcflags=all=-l -dwarf=false'
ABROAD = $(if $(filter-out $(HOST),$*),$(SHORT))
ON = CGO_ENABLED=0 GOOS=$(firstword $(subst /, ,$*)) GOARCH=$(lastword $(subst /, ,$*))
cross/%:
	@bin=$$(mktemp -d) && trap 'rm -rf "$$bin"' EXIT && set -x && \
		$(ON) $(GO) build $(ABROAD) -trimpath -ldflags '$(LDFLAGS)' -o "$$bin/" $(foreach b,$(BINARIES),$(if $(filter $*,$(or $(PLATFORMS_$(b)),$(PLATFORMS))),./cmd/$(b)))

# What counts is that the tests compile, too: one analyzer does for that. The others have read
# nearly all of it for Linux, and take twice as long; macOS would take as long again.
windows: cross/windows/amd64 ## have what cardea consists of compile for Windows with its tests
	CGO_ENABLED=0 GOOS=windows GOARCH=amd64 $(GO) vet $(SHORT) -stdmethods -trimpath \
		$$(GOOS=windows $(GO) list -deps -f '{{with .Module}}{{if .Main}}{{$$.ImportPath}}{{end}}{{end}}' ./cmd/cardea)

# Released ones are built without: nobody has tried it on a Mac.
enclave: enclave/darwin/amd64 enclave/darwin/arm64 ## build cardea for Macs with what uses the Secure Enclave, and vet that

enclave/%: cross/%
	$(ON) $(GO) build $(ABROAD) -tags enclave -trimpath -ldflags '$(LDFLAGS)' -o /dev/null ./cmd/cardea
	$(ON) $(GO) vet $(ABROAD) -tags enclave -trimpath ./login/enclave

bench: build ## measure against plain ssh and ssh -J, side by side
	packaging/install-test-needs
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/ ./bench/nodelay
	$(GO) run ./bench $(BENCHFLAGS)

fuzz: ## fuzz every parser for FUZZTIME (10s) each
	GO=$(GO) FUZZTIME=$(FUZZTIME) .ci/fuzz

clean: ## remove what build made
	rm -rf bin dist
