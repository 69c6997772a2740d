# Every target is `python3 tools/develop.py <target>`: a machine without make runs that.
PYTHON ?= python3
ARGS ?=

.PHONY: help setup demo example test lint docs bench lock clean

help:
	@echo "make demo    a bank of accounts on a real Kafka, checked"
	@echo "make example ARGS=orders   one of the examples: bank, orders, http"
	@echo "make test    every default test, services included   (ARGS='tests/unit -x' for some)"
	@echo "make lint    style, types, import layers, the documentation's links"
	@echo "make docs    the documentation as a site, in site/"
	@echo "make bench   every benchmark: tables, and benchmarks.json   (ARGS='memory' for one)"
	@echo "make setup   only .venv and the downloads"
	@echo "make lock    pin the dependencies anew (needs uv; ARGS=--upgrade for newer ones)"
	@echo "make clean   remove .venv, .eventsrc and caches"

setup demo example test lint docs bench lock clean:
	@$(PYTHON) tools/develop.py $@ $(ARGS)
