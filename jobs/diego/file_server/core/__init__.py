"""What the file server decides: which file is meant, and which part of it is sent."""
