"""How a definition becomes a picture: what is in it, where that is put, and how it is written down."""
