"""An upgrade under load, looked at from outside: `make upgrade`."""
