"""Answers to questions that mean the same: served only where evidence says that they may be."""
