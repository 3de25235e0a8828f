"""The simulator: models that cost nothing and behave like real ones, in process and over HTTP."""
