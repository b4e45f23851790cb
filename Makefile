# The front door. CMake does the work; this finds what it needs first.

BUILD ?= build
PREFIX ?= /usr/local
JOBS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
MAKEFLAGS += --no-print-directory

.PHONY: all program demo demo_begins test interop coverage fuzz bench dist install clean packages

all: $(BUILD)/CMakeCache.txt
	cmake --build $(BUILD) -j $(JOBS)

# Without the tests.
program: $(BUILD)/CMakeCache.txt
	cmake --build $(BUILD) -j $(JOBS) --target nibble_program

packages:
	@sh .ci/install-packages

$(BUILD)/CMakeCache.txt: | packages
	cmake -S . -B $(BUILD) -DCMAKE_INSTALL_PREFIX=$(PREFIX)

# What the sample model becomes, and what that costs: seconds of work, after the build.
SAMPLE := data/tinystories-3m
DEMO := $(BUILD)/tinystories-3M-Q4_K_M.gguf
demo: | demo_begins program
	@echo
	$(BUILD)/nibble quantize $(SAMPLE) -t Q4_K_M -o $(DEMO) --force
	@echo
	$(BUILD)/nibble check $(DEMO)
	@echo
	$(BUILD)/nibble verify $(SAMPLE) $(DEMO) -f data/tinystories-valid.txt -c 256 --chunks 20 --max-kld 0.05
	@echo
	@echo "$(DEMO) is the model in 4 bits, and answers as the original does, within a KL divergence of 0.05."
	@echo "It says:"
	@echo
	$(BUILD)/nibble generate -p 'once upon a time' -n 30 $(DEMO)
	@echo
	@echo "Next: '$(BUILD)/nibble inspect $(DEMO)', '$(BUILD)/nibble --help', or a model of yours."

demo_begins:
	@echo "nibble: what is missing of compilers and libraries is installed, the program is built in $(BUILD)/,"
	@echo "and the sample model in $(SAMPLE) is converted to 4 bits, compared with the original, and asked for a story."

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

# The sources of the commit, a list of the packages that they need, and hashes: the same bytes every time.
dist:
	sh .ci/dist $(BUILD)/release

# A PREFIX that is given holds, also if the build was configured with another one before.
install: all
ifneq ($(origin PREFIX),file)
	cmake -S . -B $(BUILD) -DCMAKE_INSTALL_PREFIX=$(PREFIX) >/dev/null
	cmake --build $(BUILD) -j $(JOBS)
endif
	cmake --install $(BUILD)

clean:
	rm -rf $(BUILD)
