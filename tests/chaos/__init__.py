"""Faults on purpose, under load, watched from outside: the experiments of docs/operations/chaos.md.

history      what was seen, as JSON lines
checker      what is wrong with a history; pure, so that it can be asked again of an old one
cells        imaginary cells that speak the real protocols
site         the control plane as real processes: database, two lockets, BBSes and auctioneers
load         the standing load
experiments  the faults
"""
