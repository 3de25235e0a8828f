"""What agents may call: functions with a schema, checked and bounded, and the layers every call passes through.

Which layers there are, outermost first, is the list in `corral.wiring.tooling`.
"""
