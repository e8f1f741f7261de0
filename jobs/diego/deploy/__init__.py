"""What a deployment decides: in which order instances are changed, and how many of them at once.

The playbooks call it on the controller, through the strategy plugin `diego_window`; no host runs it.
"""
