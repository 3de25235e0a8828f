"""What happened and how long it took: logs, metrics and spans. Nothing here changes what happens."""
