"""Names of things as the service forms them: `name-10chars`, and ARNs around them."""

from __future__ import annotations

import hashlib
import re
import secrets
import string

from corral.settings.sections import AgentCoreSettings

SUFFIX_CHARS = 10
_ALPHABET = string.ascii_letters + string.digits

RESOURCE_ID = "[a-zA-Z][a-zA-Z0-9-_]{0,99}-[a-zA-Z0-9]{10}"
NAME = "[a-zA-Z][a-zA-Z0-9_]{0,47}"


def fresh_id(name: str) -> str:
    """An id nobody has: the name, and chance. It is part of addresses, so it must not be guessed."""
    return f"{name}-{''.join(secrets.choice(_ALPHABET) for _ in range(SUFFIX_CHARS))}"


def runtime_name_of(agent: str) -> str:
    """The name of the runtime that an agent of the app is: letters, digits and `_`."""
    name = re.sub(r"[^a-zA-Z0-9_]", "_", agent)[:48]
    return name if name[0].isalpha() else f"a{name[:47]}"


def runtime_id_of(agent: str) -> str:
    """Its id: the same in every process and after every start."""
    digest = hashlib.blake2b(agent.encode(), digest_size=SUFFIX_CHARS).digest()
    return f"{runtime_name_of(agent)}-{''.join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest)}"


def bare(id_or_arn: str) -> str:
    """The id in an ARN, or the id itself."""
    return id_or_arn.rpartition("/")[2] if id_or_arn.startswith("arn:") else id_or_arn


class Arns:
    """ARNs in the region and the account that the settings name."""

    def __init__(self, settings: AgentCoreSettings) -> None:
        self._prefix = f"arn:aws:bedrock-agentcore:{settings.region}:{settings.account}"

    def memory(self, memory_id: str) -> str:
        """Of a memory."""
        return f"{self._prefix}:memory/{memory_id}"

    def runtime(self, runtime_id: str) -> str:
        """Of a runtime."""
        return f"{self._prefix}:runtime/{runtime_id}"

    def endpoint(self, runtime_id: str, name: str) -> str:
        """Of one of its endpoints."""
        return f"{self.runtime(runtime_id)}/runtime-endpoint/{name}"

    def identity(self, runtime_id: str) -> str:
        """Of what a runtime is to others."""
        return f"{self._prefix}:workload-identity-directory/default/workload-identity/{runtime_id}"
