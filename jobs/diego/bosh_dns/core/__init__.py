"""What bosh_dns decides: which addresses a name has."""
