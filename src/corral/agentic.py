"""The agents of a service: joins their loop to models, tools, memory, sessions and jobs."""
