"""Tools out of an OpenAPI 3 document: one for each operation, called without a redirect and never inside the house."""
