"""Runs what a container is for: the rep's library between a definition of the BBS and the container engine.

The rep calls `service.Executor`; the executor calls the engine through
`garden.Garden`, fetches assets through `downloads`, and tells the rep by events
what became of a container. What it decides is in `core`.
"""
