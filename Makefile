# Two commands on a fresh Debian 12 machine with cargo and git: `make demo` and `make test`.

# Assigned once per recipe that needs it: scripts/openvino.sh prints the folder with the OpenVINO libraries.
with_openvino = libs="$$(scripts/openvino.sh)" && LD_LIBRARY_PATH="$$libs$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH}"
# The same with the compiler of CUDA kernels, which the tests run without a card; scripts/cuda-nvrtc.sh prints its folder.
with_libraries = libs="$$(scripts/openvino.sh)" && nvrtc="$$(scripts/cuda-nvrtc.sh)" && LD_LIBRARY_PATH="$$libs:$$nvrtc$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH}"

.PHONY: help setup demo test lint bench full-size
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## install the Debian packages, the OpenVINO libraries and the CUDA kernels' compiler
	@scripts/setup-debian.sh
	@scripts/openvino.sh >/dev/null
	@scripts/cuda-nvrtc.sh >/dev/null

demo: setup ## a simulated line: camera, model, broker, verdicts on the terminal
	@$(with_openvino) cargo run -- demo

test: setup ## every test
	@$(with_libraries) cargo test

lint: ## format and clippy, warnings denied, for each set of features
	cargo fmt --check
	cargo clippy --all-targets --no-default-features -- -D warnings
	cargo clippy --all-targets -- -D warnings
	shellcheck scripts/*.sh deploy/*.sh .ci/run

bench: setup ## Criterion benchmarks
	@$(with_openvino) cargo bench --bench preprocess --bench maps --bench metrics

full-size: setup ## import, export and run a ViT-L/14-336 with seeded weights; time and memory of each step (needs 8 GB of disk)
	@$(with_openvino) cargo bench --profile dev --bench full_size
