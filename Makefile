# Everything a newcomer and CI need; `make` alone says what there is.
PYTHON ?= python3
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
# The same place that cargo-lambda builds into.
CARGO_FLAGS := --locked --workspace --all-targets --target $(HOST)
STACK := $(PYTHON) local/cli.py
TOOLS := $(PYTHON) local/tools.py

export ORDERS_PORT = $(or $(PORT),4566)
export ORDERS_ISSUER_PORT = $(or $(ISSUER_PORT),4567)
export ORDERS_SHOP_PORT = $(or $(SHOP_PORT),4568)
export SUB
ifdef STATE
export ORDERS_STATE = $(STATE)
endif

.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*## .*/\1/p' Makefile)

help: ## Say what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1: /p' $(MAKEFILE_LIST)

run: ## Build and start everything here, until Ctrl-C (PORT=, ISSUER_PORT=, SHOP_PORT=, STATE=, AUTH=)
	@$(STACK) run

token: ## Print a token for a buyer: make token SUB=alice
	@$(STACK) token

down: ## End a stack that is still up
	@$(STACK) down

redrive: ## List the dead-letter queues; or move messages back: make redrive QUEUES="PaymentEvents ..."
	@$(TOOLS) emulator-python operations/redrive.py $(QUEUES)

clean-state: ## Forget the stack's data
	@$(STACK) clean-state

test: format lint docs licences bugs ## Everything that CI runs; two at a time where one waits more than it works
	$(MAKE) --jobs=2 --output-sync template least-privilege
	$(MAKE) tool-tests emulator-tests rust-tests
	$(MAKE) --jobs=2 --output-sync instructions shop-tests
	$(MAKE) openapi

format: ## Look at the formatting
	cargo fmt --all --check

lint: ## Look for what the compiler and clippy warn of
	cargo clippy $(CARGO_FLAGS) -- --deny warnings

docs: ## Build the documentation, and check what it says of events, tests and files
	RUSTDOCFLAGS='--deny warnings' cargo doc --locked --workspace --no-deps --document-private-items --target $(HOST)
	$(TOOLS) contracts-python tests/in_process/documents/asyncapi.py
	$(TOOLS) contracts-python tests/in_process/documents/pages.py

licences: ## Look at the dependencies' licences and sources, and for what is banned
	$(TOOLS) cargo-deny --workspace check licenses bans sources

bugs: ## Check that every planted bug still applies
	PYTHONPATH=tests/support $(PYTHON) tests/simulation/planted_bugs/run.py --check

template: export AWS_DEFAULT_REGION = us-east-1
template: export SAM_CLI_TELEMETRY = 0
template: ## Check the template, and check the checks with defects of all kinds
	$(TOOLS) sam validate --lint
	$(TOOLS) sam-python tests/template/expand.py > .tools/template.json
	$(TOOLS) cfn-lint .tools/template.json
	$(TOOLS) checkov --config-file tests/template/checkov.yaml --file .tools/template.json
	$(TOOLS) sam-python tests/template/assertions.py
	PYTHONPATH=tests/support $(TOOLS) sam-python tests/template/defects.py
	PYTHONPATH=tests/template $(TOOLS) sam-python tests/deployed/privileges/asserted.py

roles: ## Say what each role may do
	@$(TOOLS) sam-python tests/template/roles.py

tool-tests: ## Test the tools beside the emulator
	$(TOOLS) emulator-python -m unittest discover --start-directory local
	$(TOOLS) emulator-python -m unittest discover --start-directory operations
	PYTHONPATH=local $(TOOLS) bench-python -m unittest discover --start-directory tests/bench

emulator-tests: ## Test the fixes of the emulator
	$(TOOLS) emulator-python -m unittest discover --start-directory local/emulator

least-privilege: ## Take away every right of every role, one at a time, and see what misses it
	PYTHONPATH=tests/template $(STACK) exec $(TOOLS) sam-python tests/deployed/privileges/run.py

instructions: ## Count the instructions of the functions as tests build them; ACCEPT=1 keeps a change
	cargo build --locked --target $(HOST)
	PYTHONPATH=local ACCEPT=$(ACCEPT) $(TOOLS) bench-python tests/bench/instructions.py

bench: ## Measure what is deployed, beside a hello-world and a peer in Node (takes Node 20); ACCEPT=1 keeps the counts
	PYTHONPATH=local ACCEPT=$(ACCEPT) $(TOOLS) bench-python tests/bench/bench.py

load-test: ## Sell few tickets to many buyers at once, on a stack of its own: make load-test BUYERS=1000 TICKETS=40
	cargo build $(filter-out --all-targets,$(CARGO_FLAGS)) --bin load_test
	BUYERS=$(BUYERS) TICKETS=$(TICKETS) $(STACK) exec target/$(HOST)/debug/load_test

rust-tests: ## Test the service, against a stack of its own
	$(STACK) exec cargo test $(CARGO_FLAGS)

shop-tests: ## Test the shop in a real browser, against a stack of its own; pictures are left in target/shop
	$(STACK) shop $(TOOLS) shop-python tests/deployed/shop/run.py

openapi: ## Check docs/openapi.yaml with requests of all kinds to a stack of its own: make openapi CASES=20000
	$(STACK) exec $(TOOLS) contracts-python tests/deployed/openapi/run.py $(CASES)

soak: ## Run the simulation for longer: make soak SEEDS=1000000 FIRST=0; one seed tells its story
	ORDERS_SIMULATION_SEEDS=$(or $(SEEDS),100000) ORDERS_SIMULATION_FIRST_SEED=$(or $(FIRST),0) \
		cargo test $(filter-out --all-targets,$(CARGO_FLAGS)) --profile soak --test simulation -- --nocapture every_promise

planted-bugs: ## Plant each bug in a copy of the checkout, and show which test catches it (BUGS=)
	PYTHONPATH=tests/support $(PYTHON) tests/simulation/planted_bugs/run.py $(BUGS)

mutants: ## Change the rules and the use cases, one operator or result at a time, and list what no test notices (MUTANTS=)
	PYTHONPATH=tests/support:local $(PYTHON) tests/simulation/mutants/run.py $(if $(MUTANTS),'$(MUTANTS)')

fuzz: ## Feed every reader of outside bytes with what libFuzzer makes up: make fuzz RUNS=1000000 TARGET=price
	$(TOOLS) cargo-fuzz build $(TARGET) --fuzz-dir tests/fuzz --target-dir target/fuzz --features libfuzzer \
		--sanitizer none --no-cfg-fuzzing
	$(PYTHON) tests/fuzz/run.py $(or $(RUNS),10000000) $(TARGET)
