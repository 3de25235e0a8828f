"""Real database servers out of wheels, for tests: no root, no Docker, no package manager."""
