"""What the healthchecker decides: when to restart a daemon, and when to give up."""
