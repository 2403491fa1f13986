# Both main commands, `make demo` and `make test`, set up what they need; they share one .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export MODYN_WORKSPACE ?= modyn-workspace
# Two test processes with two threads each would wait for one another on two cores.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.PHONY: demo demo-triggers demo-images test lint types fast slow docs bench clean

# Install the package and what the tests need; again only when the requirements changed.
$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,dev,vision,text,stream,postgres,s3,tensorboard,mlflow]'
	touch $@

demo: $(VENV)/installed
	$(BIN)/python pipelines/flights.py
	$(BIN)/modyn run pipelines/flights-never.yaml pipelines/flights-monthly.yaml pipelines/flights-all.yaml --report report.html

# The same year, retrained when the data drift or the model gets worse, beside a calendar.
demo-triggers: $(VENV)/installed
	$(BIN)/python pipelines/flights.py
	$(BIN)/modyn run pipelines/flights-monthly.yaml pipelines/flights-drift.yaml pipelines/flights-performance.yaml --report report-triggers.html

# Images: Fashion-MNIST as a stream (the Debian package dataset-fashion-mnist holds it).
demo-images: $(VENV)/installed
	$(BIN)/python pipelines/fashion_mnist.py
	$(BIN)/modyn run pipelines/fashion-mnist.yaml --report report-images.html

test: $(VENV)/installed lint types fast

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/installed
	$(BIN)/mypy modyn

fast: $(VENV)/installed
	$(ONE_THREAD) $(BIN)/python -m pytest -q -n 2

slow: $(VENV)/installed
	$(ONE_THREAD) $(BIN)/python -m pytest -q -n 2 -m 'slow and not gpu'

docs: $(VENV)/installed
	$(BIN)/python -m modyn.cli.reference docs/cli.md

# Every performance claim, as ratios; some take minutes.
bench: $(VENV)/installed
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
