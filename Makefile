# The front door. CMake does the work; this finds what it needs first.

BUILD ?= build
PREFIX ?= /usr/local
JOBS ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: all demo test interop install clean packages

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
	ctest --test-dir $(BUILD) --output-on-failure

interop: all
	sh tests/interop/run $(BUILD)/nibble

install: all
	cmake --install $(BUILD)

clean:
	rm -rf $(BUILD)
