"""The healthchecker: asks each daemon of its host whether it is well, and has supervisor restart one that is not.

One per host. Calls the daemons' health endpoints and supervisor's socket; bosh_dns and operators read what it
found at its debug listener. contract/file-server-healthchecker.md section 2, with a watcher for each daemon in one
process (ours.md section 5): three failures in a row restart the daemon, and the tenth restart that did not help
is not made: the daemon is left running and reported as failing until a probe succeeds.
"""
