"""Which addresses are public, which are private, and which are never fetched from."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.store.addresses import is_disguised_address, is_private_network, is_public, matches_host

PUBLIC = ["8.8.8.8", "1.1.1.1", "140.82.112.3", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
PRIVATE = [
    *["127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1"],
    *["::1", "fd12:3456::1", "::ffff:127.0.0.1", "::ffff:10.1.2.3", "64:ff9b::7f00:1", "64:ff9b::a00:1"],
]
NEVER = [
    *["0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"],
    *["192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "192.0.0.192", "168.63.129.16", "100.100.100.200"],
    *[
        "::",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2001::1",
        "2001:1ff::1",
        "3fff::1",
        "4000::1",
        "fd00:ec2::254",
        "::7f00:1",
    ],
    *["::ffff:169.254.169.254", "::ffff:0.0.0.0", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1"],
]


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses(text):
    address = ipaddress.ip_address(text)
    assert is_public(address)
    assert not is_private_network(address)


@pytest.mark.parametrize("text", PRIVATE)
def test_private_addresses(text):
    address = ipaddress.ip_address(text)
    assert not is_public(address)
    assert is_private_network(address)


@pytest.mark.parametrize("text", NEVER)
def test_addresses_that_no_setting_opens(text):
    address = ipaddress.ip_address(text)
    assert not is_public(address)
    assert not is_private_network(address)


@given(st.ip_addresses())
def test_no_address_is_both_public_and_private(address):
    assert not (is_public(address) and is_private_network(address))


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_judged_as_the_address_it_carries(address):
    mapped = ipaddress.ip_address(f"::ffff:{address}")
    assert (is_public(mapped), is_private_network(mapped)) == (is_public(address), is_private_network(address))


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "0X7F.1", "127.1", "127.0.1", "0177.0.0.1", "0", "1.2.3.4.5", "127.0.0.01", "0x"],
)
def test_disguised_addresses_are_recognised(host):
    assert is_disguised_address(host)
    assert is_disguised_address(host + ".")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "8.8.8.8", "example.org", "3com.com", "0x7f.example", "::1", "a1", "host-1"]
)
def test_plain_names_and_addresses_are_not_disguised(host):
    assert not is_disguised_address(host)


@pytest.mark.parametrize(
    ("host", "pattern", "expected"),
    [
        ("example.org", "example.org", True),
        ("EXAMPLE.org.", "example.ORG", True),
        ("a.example.org", "example.org", False),
        ("a.example.org", "*.example.org", True),
        ("a.b.example.org", "*.example.org", True),
        ("example.org", "*.example.org", False),
        (".example.org", "*.example.org", False),
        ("evilexample.org", "*.example.org", False),
        ("example.org.evil.net", "*.example.org", False),
        ("example.org.evil.net", "example.org", False),
        ("anything", "*", False),
        ("::1", "[::1]", True),
    ],
)
def test_hosts_match_exactly_or_below_a_domain(host, pattern, expected):
    assert matches_host(host, ["other.test", pattern]) is expected
