"""Pure: the update block, the order of a group's instances, and who may begin next."""
