"""Tools of MCP servers: our own client of the Model Context Protocol, over standard input and output or over HTTP.

It speaks what tools need and nothing else: no resources, no prompts, no sampling. A server that dies is started again, and holds
nobody up in the meantime.
"""
