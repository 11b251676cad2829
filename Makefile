# Two commands on a fresh Debian 12 machine with cargo and git: `make demo` and `make test`.

# Assigned once per recipe that needs it: scripts/openvino.sh prints the folder with the OpenVINO libraries.
with_openvino = libs="$$(scripts/openvino.sh)" && LD_LIBRARY_PATH="$$libs$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH}"
# The same with TensorRT and the compiler of CUDA kernels: the tests build real plans and compile kernels, which needs no GPU.
with_all = libs="$$(scripts/openvino.sh)" && plans="$$(scripts/tensorrt.sh)" && nvrtc="$$(scripts/cuda-nvrtc.sh)" && \
	LD_LIBRARY_PATH="$$libs:$$plans:$$nvrtc$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH}"

.PHONY: help setup demo test package-test lint bench soak package-boot full-size deb
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## install the Debian packages and the OpenVINO libraries
	@scripts/setup-debian.sh
	@scripts/openvino.sh >/dev/null

# Without cameras, TensorRT and OpenCV, whose bindings are generated for a minute. Cargo.toml keeps the features of every
# library the same, so that `make test` compiles none of them again.
demo: setup ## a simulated line: camera, model, broker, verdicts on the terminal
	@$(with_openvino) cargo run --no-default-features --features openvino -- demo

test: setup ## every test
	@scripts/brokers.sh >/dev/null
	@scripts/inference.sh >/dev/null
	@scripts/axe-core.sh >/dev/null
	@$(with_all) cargo test

package-test: setup ## the Debian package of the dev build: what is in it, and what its scripts do in a root of their own (builds cargo-deb once)
	@scripts/cargo-deb.sh >/dev/null
	@$(with_openvino) cargo test --test it deb:: -- --ignored

lint: ## format and clippy, warnings denied, for each set of features
	cargo fmt --check
	cargo clippy --all-targets --no-default-features -- -D warnings
	cargo clippy --all-targets -- -D warnings
	cargo clippy --test gpu -- -D warnings
	shellcheck scripts/*.sh findings/*.sh deploy/*.sh deploy/debian/p* tests/*.sh tests/support/*.sh .ci/run

# Minutes of the last parts: four conveyors under random faults, servers that look for a line under others.
SOAK ?= 30
soak: setup ## the long form of the fault tests: 200 kills, outages of a minute, then half an hour under random faults
	@$(with_openvino) VCP_LINE_SOAK=$(SOAK) cargo test --test it -- --nocapture --test-threads 1 \
		outbox_faults:: reload:: reload_cameras:: disk_faults:: line_faults:: camera_faults:: remote_faults:: remote_network:: soak::

package-boot: setup ## the packages on a bare Debian under a real systemd: faults, reboot, GigE camera, page, upgrade, downgrade, removal (root; 2 GB of disk)
	@scripts/cargo-deb.sh >/dev/null
	@$(with_openvino) cargo test --test it package_boot:: -- --ignored --nocapture

deb: setup ## Debian packages of the release build, in target/debian: vcp-line and vcp-line-openvino
	@scripts/deb.sh

bench: setup ## Criterion benchmarks
	@$(with_openvino) cargo bench --bench preprocess --bench maps --bench metrics --bench outbox

full-size: setup ## import, export and run a ViT-L/14-336 with seeded weights; time and memory of each step (needs 8 GB of disk)
	@$(with_openvino) cargo bench --profile dev --bench full_size
