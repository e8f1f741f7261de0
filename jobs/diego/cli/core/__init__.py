"""What the command line judges without a network: manifests, differences, progress, and the rows of tables."""
