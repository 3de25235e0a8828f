"""What an operator decides: from defaults, `corral.yaml`, the environment and flags, in that order."""
