"""Redis or Valkey beside another store: hints that travel faster. Whatever is lost here costs time and nothing else."""
