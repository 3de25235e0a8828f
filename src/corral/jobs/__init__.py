"""Work that waits, and work that must survive a crash: a durable queue of invocations.

A job is an invocation with an id. The store keeps it and decides who may run it; a worker claims it, runs it through
the same pipeline as a request, and writes what came of it under the token of its claim.
"""
