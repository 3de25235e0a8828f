"""What is learnt from conversations: the prompts, what models answer to them, and how that becomes records."""
