"""What the auctioneer decides, without network or clock."""
