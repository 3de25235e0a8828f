from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.errors import ConfigError
from corral.outbound.addresses import Reach


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.1.2.3", "100.100.100.200", "127.0.0.1", "127.8.9.10", "168.63.129.16", "169.254.169.254"),
        *("172.16.0.1", "172.31.255.255", "192.0.0.192", "192.168.1.1", "198.18.0.1", "203.0.113.9"),
        *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::127.0.0.1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1"),
        *("2001:db8::1", "3fff::1", "2001::1", "100::1", "5f00::1"),
        *("::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808"),
        *("2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:c0a8:101::1"),
        *("", "localhost", "1.2.3", "not an address"),
    ],
)
def test_an_address_that_is_not_public_is_refused(address):
    assert not Reach().permits_address(address)


@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", "172.15.255.255", "172.32.0.1", "168.63.129.17", "223.255.255.255", "1.1.1.1"),
        *("2606:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888"),
        *("::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"),
    ],
)
def test_a_public_address_is_permitted(address):
    assert Reach().permits_address(address)


@given(st.ip_addresses(v=4))
def test_nothing_private_is_permitted_in_any_disguise(address):
    disguises = [
        f"::ffff:{address}",
        f"64:ff9b::{address}",
        f"2002:{int(address) >> 16:x}:{int(address) & 0xFFFF:x}::1",
    ]
    permitted = Reach().permits_address(str(address))
    assert permitted is False or (address.is_global and not address.is_multicast)
    assert [Reach().permits_address(disguise) for disguise in disguises] == [permitted] * 3


@given(st.ip_addresses(v=6))
def test_the_standard_library_agrees_about_private_addresses(address):
    if Reach().permits_address(str(address)):
        assert not any((address.is_loopback, address.is_link_local, address.is_multicast, address.is_unspecified))
        assert address.sixtofour or address.ipv4_mapped or not address.is_private


def test_an_operator_allows_networks_and_hosts():
    reach = Reach(["10.0.0.0/8", "192.168.1.7", "fd00::/8", "Hooks.Internal", "*.corp.example"])
    assert reach.permits("x", "10.9.8.7")
    assert reach.permits("x", "::ffff:10.9.8.7")
    assert reach.permits("x", "192.168.1.7")
    assert not reach.permits("x", "192.168.1.8")
    assert reach.permits("x", "fd00::5")
    assert reach.permits("hooks.internal", "127.0.0.1")
    assert reach.permits("HOOKS.internal.", "127.0.0.1")
    assert not reach.permits("a.hooks.internal", "127.0.0.1")
    assert reach.permits("a.b.corp.example", "127.0.0.1")
    assert not reach.permits("corp.example", "127.0.0.1")
    assert not reach.permits("evilcorp.example", "127.0.0.1")


@pytest.mark.parametrize("entry", ["", "10.0.0.0/33", "https://hooks.internal", "300.1.2.3", "a b", "*", "10.0.0"])
def test_an_entry_that_is_neither_is_a_mistake(entry):
    with pytest.raises(ConfigError, match="neither a network"):
        Reach([entry])
