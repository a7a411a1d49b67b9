# make install   a virtual environment in .venv with everything that playing needs, by pip alone
# make play      plays shows/first_light.toml
# make test      installs what the tests need, system packages too, and passes them
# make check     ruff and mypy
# make page      builds the web page again from engine/web/page (Node 20; playing needs none)
# make modes     ten minutes of each way of playing together, as sound and MIDI, into modes/
# make faults    everything that tests/test_faults.py breaks, TIMES times each (12), and measured
# make soak      HOURS (2) of playing with faults and inputs at random: CSV and plot into soak/, fails on growth
# make fuzz      wrong input for SECONDS each (600): MIDI, OSC, show files, recordings, manifests, graphs

PYTHON ?= python3
BIN := .venv/bin
SHOW ?= shows/first_light.toml

.PHONY: install play test check packages page modes faults soak fuzz clean

install: .venv/installed

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv || { rm -rf .venv; echo "Python 3.11 or later with its venv module is needed: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

play: install
	$(BIN)/chladni play $(SHOW)

.venv/tested: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[test,train,latency]'
	$(BIN)/python -m pip install --quiet --no-deps tinysoundfont  # its PyAudio, never used here, needs headers
	touch $@

packages:
	sh tests/packages.sh

check: .venv/tested
	$(BIN)/ruff check engine models tests
	$(BIN)/mypy

LIVE := $(shell grep -l "mark.live" tests/test_*.py)
# What plays in real time has the machine to itself; of the rest two tests run at once, on a thread each.
test: .venv/tested packages check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(filter-out $(LIVE),$(wildcard tests/test_*.py))
	$(BIN)/python -m pytest $(LIVE)

page:
	cd engine/web/page && npm ci --no-audit --no-fund && npm run build

modes: .venv/tested
	$(BIN)/python tests/modes.py

TIMES ?= 12
faults: .venv/tested packages
	CHLADNI_FAULTS=$(TIMES) $(BIN)/python -m pytest -s tests/test_faults.py

HOURS ?= 2
soak: .venv/tested
	$(BIN)/python tests/soak.py --hours $(HOURS) --folder soak

SECONDS ?= 600
fuzz: .venv/tested
	$(BIN)/python -m pip install --quiet --editable '.[fuzz]'
	for target in midi osc shows recordings manifests onnx; do \
		$(BIN)/python tests/fuzz.py $$target --seconds $(SECONDS) || exit 1; \
	done

clean:
	rm -rf .venv *.egg-info build engine/web/page/node_modules
