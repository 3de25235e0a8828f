"""Which addresses may be called: public ones, and what an operator allows besides."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from corral.errors import ConfigError

_PRIVATE_4 = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # behind a carrier's NAT; Alibaba's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's platform, reachable from inside only, although the range is public
        "169.254.0.0/16",  # link-local: metadata of AWS, Google, Azure and others
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata
        "192.0.2.0/24",  # documentation, as two more below
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
]
_PUBLIC_6 = IPv6Network("2000::/3")
"""All that was ever given out; loopback, link-local, unique local, multicast and the rest lie outside."""
_PRIVATE_6 = [
    IPv6Network(network)
    for network in (
        "2001::/23",  # Teredo and other special purposes
        "2001:db8::/32",  # documentation, as the next
        "3fff::/20",
    )
]
_NAT64 = IPv6Network("64:ff9b::/96")
_HOST = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\.?")

Address = IPv4Address | IPv6Address


class Reach:
    """What may be called: every public address, and the networks and hosts in `allow` although they are private."""

    def __init__(self, allow: Sequence[str] = ()) -> None:
        """`allow` has networks (`10.0.0.0/8`), addresses, hosts (`hooks.internal`) and all below one (`*.internal`)."""
        self._networks: list[IPv4Network | IPv6Network] = []
        self._hosts: set[str] = set()
        self._domains: list[str] = []
        for entry in allow:
            self._add(entry.strip().lower())

    def _add(self, entry: str) -> None:
        try:
            self._networks.append(ip_network(entry, strict=False))
        except ValueError:
            if not _HOST.fullmatch(entry) or "/" in entry or entry.rstrip(".").rpartition(".")[2].isdigit():
                raise ConfigError(
                    f"{entry!r} is neither a network (10.0.0.0/8) nor a host (hooks.internal, *.internal) to allow."
                ) from None
            if entry.startswith("*."):
                self._domains.append(entry[1:].rstrip("."))
            else:
                self._hosts.add(entry.rstrip("."))

    def permits(self, host: str, address: str) -> bool:
        """Whether `host` may be called at `address`, one of those that its name stands for."""
        return self.names(host) or self.permits_address(address)

    def names(self, host: str) -> bool:
        """Whether the operator allows this host by its name."""
        name = host.lower().rstrip(".")
        return name in self._hosts or any(name.endswith(domain) for domain in self._domains)

    def permits_address(self, address: str) -> bool:
        """Whether this address is public, or in an allowed network."""
        try:
            found = _meant(ip_address(address))
        except ValueError:
            return False
        return any(found in network for network in self._networks) or _public(found)


def _meant(address: Address) -> Address:
    """The IPv4 address inside of an IPv6 one that only stands for it."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _PRIVATE_4)
    return address in _PUBLIC_6 and not any(address in network for network in _PRIVATE_6)
