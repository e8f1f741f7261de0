# Diego on this machine. `make` alone says what there is.

LAB ?= dev
TOPOLOGY ?= single
export LAB TOPOLOGY EXPERIMENT SEED ROUNDS

.DEFAULT_GOAL := help
.PHONY: help up down test lint bench chaos upgrade test-small test-upgrade venv release clean-cache

help:  ## what there is
	@echo "make TARGET [LAB=name] [TOPOLOGY=name of inventory/lab/NAME.ini]"
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

up:  ## make the lab, deploy to it, run a sample app; repeated, it goes on where it was
	@scripts/up

down:  ## take the lab down and leave nothing of it
	@scripts/down

test:  ## lint, and every test there is, with a lab of its own
	@scripts/test

test-small: venv  ## the tests of a lab of five hosts, with one of its own
	@scripts/test-small

lint: venv  ## what CI lints
	@scripts/lint

chaos: venv  ## faults on purpose under load, judged from outside [EXPERIMENT=n SEED=n ROUNDS=n JOBS=n]
	@scripts/chaos

bench: venv  ## measure, and print what was measured
	@scripts/bench

upgrade: venv  ## upgrade a lab of five hosts under load, from an earlier release, and say whether anybody noticed
	@scripts/upgrade

test-upgrade: venv  ## what stops an upgrade, on the same kind of lab: failing canary, lost host, killed controller
	@scripts/upgrade --faults

venv:  ## the project's Python environment in .venv
	@scripts/venv

release: venv  ## the archive that hosts get, in dist
	@scripts/build-release

clean-cache:  ## drop what was cached for making labs
	@/usr/bin/python3 -m lab clean-cache
