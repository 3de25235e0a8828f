"""What outlives a conversation, and how it is fitted into a context window."""
