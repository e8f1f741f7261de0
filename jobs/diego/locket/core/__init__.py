"""What locket decides, free of network, database and clock."""
