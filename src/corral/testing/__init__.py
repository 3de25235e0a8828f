"""For tests, ours and yours: suites that any backend must pass, and real database servers from wheels."""
