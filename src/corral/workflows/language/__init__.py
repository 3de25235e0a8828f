"""The Amazon States Language: reading, checking and evaluating what a definition says."""
