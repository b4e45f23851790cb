# The front door. CMake does the work; this finds what it needs first.

BUILD ?= build
PREFIX ?= /usr/local
JOBS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
MAKEFLAGS += --no-print-directory

.PHONY: all demo test interop coverage fuzz bench install clean packages

all: $(BUILD)/CMakeCache.txt
	cmake --build $(BUILD) -j $(JOBS)

packages:
	@sh .ci/install-packages

$(BUILD)/CMakeCache.txt: | packages
	cmake -S . -B $(BUILD) -DCMAKE_INSTALL_PREFIX=$(PREFIX)

demo: all
	@echo
	$(BUILD)/nibble quantize data/tinystories-3m -t Q4_K_M -o $(BUILD)/tinystories-3M-Q4_K_M.gguf --force
	@echo
	$(BUILD)/nibble inspect $(BUILD)/tinystories-3M-Q4_K_M.gguf

test: all
	ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)

interop: all
	sh tests/interop/run $(BUILD)/nibble

# Which lines the tests run: a table by folder, and build-coverage/html/index.html. Needs gcc.
coverage: packages
	@sh .ci/install-packages 'command -v gcovr=gcovr'
	cmake --preset coverage >/dev/null
	cmake --build --preset coverage -j $(JOBS) >/dev/null
	find build-coverage -name '*.gcda' -delete
	ctest --preset coverage -j $(JOBS)
	@echo
	@python3 tests/coverage build-coverage

# Each fuzz target for so long; needs clang.
SECONDS ?= 60
fuzz: packages
	@sh tests/fuzz/install-packages
	cmake --preset fuzz >/dev/null
	cmake --build --preset fuzz -j $(JOBS) >/dev/null
	ls tests/fuzz/corpus | xargs -P $(JOBS) -n 1 sh tests/fuzz/run build-fuzz $(SECONDS)

# Megabytes of made-up BF16 weights to convert.
MEGABYTES ?= 4200
bench: all
	$(BUILD)/bench_codecs
	@echo
	sh tests/bench/end_to_end $(BUILD)/nibble $(BUILD)/make_checkpoint data/tinystories-3m $(MEGABYTES)

install: all
	cmake --install $(BUILD)

clean:
	rm -rf $(BUILD)
