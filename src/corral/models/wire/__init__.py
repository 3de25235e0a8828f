"""The languages that providers speak, each in a file: ours in, theirs out, and back."""
