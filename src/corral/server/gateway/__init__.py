"""Models for anybody else: OpenAI's API in front of the same layers that agents of this house use."""
