"""Diego, the runtime of Cloud Foundry, on plain Linux machines."""
