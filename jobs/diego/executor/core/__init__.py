"""What the executor decides: container states, step trees, texts, checks, cache and resource accounting."""
