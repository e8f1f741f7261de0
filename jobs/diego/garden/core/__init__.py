"""What garden decides: values in, values and texts out; no system call, no clock, no thread."""
