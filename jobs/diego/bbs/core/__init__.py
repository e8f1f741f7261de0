"""What the BBS decides: pure functions from values and the time to new values and what they ask for.

contract/lifecycle.md is the specification; the modules are named after its sections.
"""
