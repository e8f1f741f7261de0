"""The lab: test hosts from plain Linux namespaces, on the machine at hand.

A host has its own address, an sshd, and supervisord as PID 1. The product is deployed to it over SSH by its own
playbooks, as to any other machine. Only the standard library is used, so that the lab can be made
while the project's environment is still being installed. Run it as `python3 -m lab`.
"""
