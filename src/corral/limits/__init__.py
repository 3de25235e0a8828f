"""How much may be asked for: providers' limits shared by all workers, and what it all cost."""
