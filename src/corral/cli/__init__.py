"""The command `corral`: one module for each verb, loaded when that verb is used."""
