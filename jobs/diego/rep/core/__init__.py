"""What the rep decides: capacity, conversion, reconciliation of containers with the BBS, queues of operations."""
