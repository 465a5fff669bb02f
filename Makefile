# The front door. Everything here is a CMake preset or a script; `make help` lists it.

PREFIX ?= /usr/local
DESTDIR ?=
BUILD = build/release

.DEFAULT_GOAL := help
.PHONY: help deps build dev test unit root system asan tsan fuzz tidy format format-check check bench mutations \
        install deb docs clean

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "  %-13s %s\n", $$1, $$2 }'

deps: ## Install the Debian packages that building needs
	scripts/deps build

build: deps ## What users run: build/release/bin
	cmake --preset release
	cmake --build --preset release

dev: deps ## Debug build, warnings are errors: build/dev/bin
	cmake --preset dev
	cmake --build --preset dev

test: ## The whole suite; needs root (ARGS="--long" for more)
	scripts/test $(ARGS)

unit: build ## Tests that need nothing
	ctest --preset unit

root: build ## Tests that need root and a kernel feature
	ctest --preset root

system: build ## Scenarios with the built programs; need root
	ctest --preset system

asan: deps ## unit and root under the address and undefined behaviour sanitizers
	cmake --preset asan
	cmake --build --preset asan
	ctest --preset asan

tsan: deps ## unit and threads (of root) under the thread sanitizer
	cmake --preset tsan
	cmake --build --preset tsan
	ctest --preset tsan

fuzz: ## Every fuzz target for FUZZ_SECONDS (default 600)
	scripts/test --fuzz

tidy: ## clang-tidy over src
	scripts/tidy

format: ## Format the C++ sources
	scripts/format

format-check: ## Only say what is not formatted
	scripts/format --check

check: ## Format, shell, spelling, commits, documents, headers
	scripts/check

bench: build ## Benchmarks; need a quiet machine
	ctest --test-dir $(BUILD) -L '^bench$$' --verbose --no-tests=error

mutations: ## Remove each defence and see the tests notice
	scripts/test --mutations

install: build ## Install below PREFIX (default /usr/local) and DESTDIR
	DESTDIR=$(DESTDIR) cmake --install $(BUILD) --prefix $(PREFIX) --strip

deb: build ## Debian package in build/release
	cd $(BUILD) && cpack -G DEB

docs: ## Manual pages as text in build/docs; check pages and links
	scripts/check docs

clean: ## Remove everything that was built
	rm -rf build
