"""Measurements, printed and written to docs/performance.md by `make bench`. Nothing here passes or fails by its speed."""
