"""What may stand where in a definition: tables of fields, and a check for each kind of value."""
