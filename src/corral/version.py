"""The version, in the one place that needs no other module."""

VERSION = "0.1.0"
