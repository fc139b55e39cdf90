# Commands for daily work and for CI. `make` lists them.
PYTHON ?= python3
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
# cargo-lambda builds for the same target folder, so that nothing is built twice.
CARGO_FLAGS := --locked --workspace --all-targets --target $(HOST)
STACK := $(PYTHON) local/cli.py
TOOLS := $(PYTHON) local/tools.py
# Suites without a stack and without network; `lib` is the unit tests.
IN_PROCESS := lib api messages log_lines schemas aws_calls store_conformance model simulation releases rush fuzz
DEPLOYED := end_to_end lifecycle crash_recovery store_conformance
cargo_test = cargo test $(filter-out --all-targets,$(CARGO_FLAGS)) $(patsubst --test=lib,--lib,$(addprefix --test=,$(1))) -- $(ONLY)

export ORDERS_PORT = $(or $(PORT),4566)
export ORDERS_ISSUER_PORT = $(or $(ISSUER_PORT),4567)
export ORDERS_SHOP_PORT = $(or $(SHOP_PORT),4568)
export SUB
ifdef STATE
export ORDERS_STATE = $(STATE)
endif
# deno keeps its cache in the checkout and does not look for updates.
export DENO_DIR = $(CURDIR)/.tools/deno-cache
export DENO_NO_UPDATE_CHECK = 1

TARGETS := $(shell sed -n 's/^\([a-z-]*\):.*## .*/\1/p' Makefile)
.PHONY: help settings $(TARGETS)

help:
	@sed -n -e 's/^##@ \(.*\)/\n\1/p' -e 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

# Every target checks the variables first: a wrong value must not end a build of minutes.
$(TARGETS): settings

settings:
	@$(PYTHON) local/settings.py $(strip $(foreach name,$(.VARIABLES),$(if $(findstring command,$(origin $(name))),$(name))))

##@ Run the service on this machine

run: api-page ## Build the service and run it on this machine until Ctrl-C (PORT=, ISSUER_PORT=, SHOP_PORT=, STATE=, AUTH=)
	@$(STACK) run

token: ## Print a token for a buyer: make token SUB=alice
	@$(STACK) token

publish: ## Publish an event of another service: make publish TYPE=PaymentCreated DETAIL='{"id": ..., "orderId": ...}'
	@$(STACK) publish

consume: ## Run the example consumer of the order events, docs/consumer.py, until Ctrl-C
	@$(STACK) consume

down: ## Stop a stack that still runs
	@$(STACK) down

clean-state: ## Delete the data of the local stack
	@$(STACK) clean-state

api-page: ## Build the page of the API from docs/openapi.yaml, in target/api
	@$(TOOLS) deno run --quiet --allow-env --allow-read --allow-write=target/api local/api/build.js target/api

##@ Before a commit

check: format lint language pages bugs in-process-tests ## Check the code before a commit, without network: about a minute once built

format: ## Check the formatting of Rust, Python, JavaScript and CSS; FIX=1 formats the files
	cargo fmt --all $(if $(FIX),,--check)
	$(TOOLS) ruff format --quiet $(if $(FIX),,--diff)
	$(TOOLS) deno fmt $(if $(FIX),--quiet,--check)

lint: ## Run clippy, ruff and deno's linter; FIX=1 repairs Python where ruff can
	cargo clippy $(CARGO_FLAGS) -- --deny warnings
	$(TOOLS) ruff check --quiet $(if $(FIX),--fix)
	$(TOOLS) deno lint --quiet

in-process-tests: ## Run the Rust tests that need no stack, with few seeds of the simulations (SUITE=api ONLY=name)
	$(if $(ALL_SEEDS),,ORDERS_SIMULATION_SEEDS=500 ORDERS_RELEASES_SEEDS=20) \
		$(call cargo_test,$(or $(SUITE),$(IN_PROCESS))) --skip at_endpoint::

##@ Tests, all run by `make test`

test: format lint docs language licences bugs ## Run everything that CI runs: about 30 minutes
	$(MAKE) --jobs=2 --output-sync template least-privilege
	$(MAKE) --jobs=2 --output-sync rust-tests tool-tests emulator-tests canary
	$(MAKE) shop-tests
	$(MAKE) --jobs=2 --output-sync instructions openapi operations-tests

rust-tests: export ALL_SEEDS = 1
rust-tests: ## Run all Rust tests and the examples in rustdoc
	cargo test $(filter-out --all-targets,$(CARGO_FLAGS)) --doc
	cargo test $(CARGO_FLAGS) --no-run
	$(MAKE) --jobs=2 --output-sync deployed-tests in-process-tests

deployed-tests: ## Run the Rust tests that need a stack, on a stack of their own (SUITE=lifecycle ONLY=name)
	$(STACK) exec $(call cargo_test,$(or $(SUITE),$(DEPLOYED))) --skip in_memory:: --skip in_process::

docs: pages ## Build the rustdoc, and compare the pages and the schemas of the events with the code
	RUSTDOCFLAGS='--deny warnings' cargo doc --locked --workspace --no-deps --document-private-items --target $(HOST)
	$(TOOLS) contracts-python tests/in_process/documents/asyncapi.py
	$(TOOLS) contracts-python tests/in_process/documents/openapi.py

pages: ## Check that the tests, files, promises and behaviours of AWS named in the pages exist
	$(PYTHON) tests/in_process/documents/pages.py
	$(PYTHON) tests/in_process/documents/promises.py
	$(PYTHON) tests/in_process/documents/costs.py
	$(PYTHON) tests/in_process/documents/emulator.py

language: ## Measure the language of the pages and of rustdoc, and the size of the code
	$(PYTHON) tests/support/language.py

licences: ## Check licences and sources of the dependencies, and banned crates
	$(TOOLS) cargo-deny --workspace check licenses bans sources

bugs: ## Check that every planted bug still applies to the code
	PYTHONPATH=tests/support $(PYTHON) tests/simulation/planted_bugs/run.py --check

template: export AWS_DEFAULT_REGION = us-east-1
template: export SAM_CLI_TELEMETRY = 0
template: ## Check template.yaml, and prove each check with a defect: 2 minutes
	$(TOOLS) sam validate --lint
	$(TOOLS) sam-python tests/template/expand.py > .tools/template.json
	$(TOOLS) cfn-lint .tools/template.json
	$(TOOLS) checkov --config-file tests/template/checkov.yaml --file .tools/template.json
	$(TOOLS) sam-python tests/template/assertions.py
	PYTHONPATH=tests/support $(TOOLS) sam-python tests/template/defects.py
	PYTHONPATH=tests/template:tests/support $(TOOLS) sam-python tests/deployed/privileges/asserted.py

expanded-template: ## Write template.yaml with its loops written out to expanded.json, for AWS without AWS::LanguageExtensions
	$(TOOLS) sam-python tests/template/expand.py --loops > expanded.json

canary: export AWS_DEFAULT_REGION = us-east-1
canary: ## Run releases that fail without an error of Lambda; the alarms of the deployment must see each: a minute
	$(TOOLS) sam-python tests/template/expand.py > .tools/template.json
	PYTHONPATH=tests/bench:tests/support $(TOOLS) bench-python tests/canary/run.py

least-privilege: ## Remove each permission of each role in turn; one operation must fail without it: 3 minutes
	PYTHONPATH=tests/template:tests/support $(STACK) exec $(TOOLS) sam-python tests/deployed/privileges/run.py

tool-tests: ## Test the tools of the local stack, the operators and the benchmark
	$(TOOLS) emulator-python -m unittest discover --start-directory local
	$(TOOLS) deno test --quiet local/test_shop_page.js
	$(TOOLS) emulator-python -m unittest discover --start-directory operations
	PYTHONPATH=local $(TOOLS) bench-python -m unittest discover --start-directory tests/bench

emulator-tests: ## Test the fixes of the AWS emulator and its rules: 4 minutes
	$(TOOLS) emulator-python -m unittest discover --start-directory local/emulator

instructions: ## Count the instructions of each function and compare them with the kept counts: a minute; ACCEPT=1 keeps new ones
	cargo build --locked --target $(HOST)
	PYTHONPATH=local ACCEPT=$(ACCEPT) $(TOOLS) bench-python tests/bench/instructions.py

shop-tests: api-page ## Test the demo page in a real browser; screenshots in target/shop
	$(STACK) shop $(TOOLS) shop-python tests/deployed/shop/run.py

openapi: ## Test the API against docs/openapi.yaml with generated requests: make openapi CASES=20000
	$(STACK) exec $(TOOLS) contracts-python tests/deployed/openapi/run.py $(CASES)

operations-tests: ## Test the operators' commands, smoke too, the table of docs/operations.md, the repair of a restore, README.md
	PYTHONPATH=tests/deployed/privileges:tests/deployed/pages:operations:local \
		$(STACK) exec $(TOOLS) emulator-python -m unittest discover --start-directory tests/deployed/operations

##@ Long checks, by hand or at night

soak: ## Run more seeds of the simulation, 2,000 a second: make soak SEEDS=1000000; SEEDS=1 FIRST=7 prints the log of seed 7
	ORDERS_SIMULATION_SEEDS=$(or $(SEEDS),100000) ORDERS_SIMULATION_FIRST_SEED=$(or $(FIRST),0) \
		cargo test $(filter-out --all-targets,$(CARGO_FLAGS)) --profile soak --test simulation -- --nocapture every_promise

release-soak: ## Run more seeds of two neighbouring releases: make release-soak SEEDS=100000; SEEDS=1 FIRST=7 prints the log of seed 7
	ORDERS_RELEASES_SEEDS=$(or $(SEEDS),10000) ORDERS_RELEASES_FIRST_SEED=$(or $(FIRST),0) \
		cargo test $(filter-out --all-targets,$(CARGO_FLAGS)) --profile soak --test releases -- --nocapture --skip same_seed

rush: ## Simulate the service under the limits of AWS, 3 minutes: make rush CASE=3 SEED=7 SETTINGS=after
	ORDERS_RUSH_CASE=$(CASE) ORDERS_RUSH_SEED=$(SEED) ORDERS_RUSH_SETTINGS=$(SETTINGS) \
		cargo test $(filter-out --all-targets,$(CARGO_FLAGS)) --profile soak --test rush -- --nocapture --ignored full

planted-bugs: ## Plant each bug in a copy of the checkout; a test must catch it (BUGS="name ...")
	PYTHONPATH=tests/support $(PYTHON) tests/simulation/planted_bugs/run.py $(BUGS)

mutants: ## Mutate the rules and the use cases with cargo-mutants; a test must catch each mutant (MUTANTS=regex)
	PYTHONPATH=tests/support:local $(PYTHON) tests/simulation/mutants/run.py $(if $(MUTANTS),'$(MUTANTS)')

fuzz: ## Fuzz every parser of untrusted input with libFuzzer, an hour: make fuzz RUNS=1000000 TARGET=price
	$(TOOLS) cargo-fuzz build $(TARGET) --fuzz-dir tests/fuzz --target-dir target/fuzz --features libfuzzer \
		--sanitizer none --no-cfg-fuzzing
	$(PYTHON) tests/fuzz/run.py $(or $(RUNS),10000000) $(TARGET)

bench: ## Measure release builds beside a hello-world and a Node version (needs Node 20); ACCEPT=1 keeps the counts
	PYTHONPATH=local ACCEPT=$(ACCEPT) $(TOOLS) bench-python tests/bench/bench.py

page-tests: ## Run the commands of README.md and docs/deployment.md as printed, in bash and zsh: 2 minutes
	$(STACK) exec $(TOOLS) emulator-python tests/deployed/pages/follow.py

load-test: export ORDERS_HOLD_SECONDS = $(HOLD)
load-test: ## Sell few tickets to many buyers at once, on a stack of its own: make load-test BUYERS=1000 TICKETS=40 HOLD=30 LAPSE=0
	cargo build $(filter-out --all-targets,$(CARGO_FLAGS)) --bin load_test
	BUYERS=$(BUYERS) TICKETS=$(TICKETS) HOLD=$(HOLD) LAPSE=$(LAPSE) $(STACK) exec target/$(HOST)/debug/load_test

##@ Deployment

release: ## Build the functions for AWS (arm64) and check each program: 15 minutes on two cores
	@$(TOOLS) sam-python local/release.py

##@ Operations, on the stack of `make run` or AWS_STACK=name; WRITE=1 makes the changes

OPERATION = @$(TOOLS) emulator-python operations/$(1).py $(if $(AWS_STACK),--stack $(AWS_STACK))
WRITES = $(if $(WRITE),--write)
# The value is a variable of the shell, so quotes in it do no harm.
option = $(if $($(1)),--$(2) "$$$(1)")
argument = $(if $($(1)),-- "$$$(1)")

redrive: ## List the dead-letter queues, or move messages back: make redrive QUEUES="PaymentEvents ..."
	$(call OPERATION,redrive) $(WRITES) $(QUEUES)

orders: ## Find orders: make orders ORDER=id, TICKET=id (SCAN=1), PAYMENT=id or BUYER=id; HISTORY=1 reads the stream
	$(call OPERATION,orders) find $(call option,ORDER,order) $(call option,TICKET,ticket) \
		$(call option,PAYMENT,payment) $(call option,BUYER,buyer) $(if $(SCAN),--scan) $(if $(HISTORY),--history)

release-order: ## Cancel an order in its owner's name: make release-order ORDER=id
	$(call OPERATION,orders) release $(WRITES) $(call argument,ORDER)

pay: ## Mark an order as paid: make pay ORDER=id BY=name NOTE="bank statement 7" (AMOUNT=25.50)
	$(call OPERATION,orders) pay $(call option,BY,by) $(call option,NOTE,note) $(call option,AMOUNT,amount) $(WRITES) $(call argument,ORDER)

refunded: ## Record the refund of a payment of `make pay`: make refunded ORDER=id PAYMENT=id BY=name NOTE=text
	$(call OPERATION,orders) refunded $(call option,PAYMENT,payment) $(call option,BY,by) $(call option,NOTE,note) $(WRITES) $(call argument,ORDER)

audit: ## Compare orders, locks and payments: make audit (REPAIR=1, ALL=1)
	$(call OPERATION,audit) $(if $(REPAIR),--repair) $(if $(ALL),--all) $(WRITES)

retell: ## Publish the state of orders again: make retell ORDER=id, TICKET=id or ALL=1 (FROM=time TO=time)
	$(call OPERATION,retell) $(call option,ORDER,order) $(call option,TICKET,ticket) $(if $(ALL),--all) \
		$(call option,FROM,from) $(call option,TO,to) $(WRITES)

erase: ## Replace a buyer's id by a random pseudonym: make erase BUYER=id
	$(call OPERATION,erase) $(WRITES) $(call argument,BUYER)

smoke: ## Check what the service assumes about AWS: make smoke (TOKEN="...", ONLY=steps, WITHOUT=steps)
	$(call OPERATION,smoke) $(call option,ONLY,only) $(call option,WITHOUT,without)

roles: ## Print the permissions of each role
	@$(TOOLS) sam-python tests/template/roles.py
