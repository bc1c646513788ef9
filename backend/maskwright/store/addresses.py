"""Which internet addresses an untrusted URL may lead to."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NUMBER = re.compile(r"\d+|0[xX][0-9a-fA-F]*")
_DOTTED_QUAD = re.compile(r"(?:(?:0|[1-9]\d{0,2})\.){3}(?:0|[1-9]\d{0,2})")
# Well-known prefix of IPv4/IPv6 translation (RFC 6052): the IPv4 address is in the last 32 bits.
_TRANSLATION = ipaddress.IPv6Network("64:ff9b::/96")
_PRIVATE = tuple(
    map(
        ipaddress.ip_network,
        ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7"),
    )
)
# What counts as set aside differs between Python releases; these are refused under all of them. Tunnels (6to4, Teredo)
# lead to addresses that cannot be judged from here. The single addresses are metadata services that clouds keep outside
# the link-local range.
_NEVER = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.0.0.0/24",
            "192.88.99.0/24",
            "2001::/23",
            "2002::/16",
            "3fff::/20",
            "168.63.129.16/32",
            "100.100.100.200/32",
            "fd00:ec2::254/128",
            "fd20:ce::254/128",
        ),
    )
)
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")


def is_disguised_address(host: str) -> bool:
    """Whether ``host`` is an IPv4 address in decimal, octal, hexadecimal or shortened form (``2130706433``)."""
    host = host.rstrip(".")
    return bool(_NUMBER.fullmatch(host.rpartition(".")[2])) and not _DOTTED_QUAD.fullmatch(host)


def is_public(address: Address) -> bool:
    """Whether an address, or the IPv4 address that it carries, belongs to the public internet."""
    address = _carried(address)
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved and not _within(address, _NEVER)


def is_private_network(address: Address) -> bool:
    """Whether an address, or the IPv4 address that it carries, is loopback or in a private network.

    Link-local addresses (where clouds keep their metadata services), multicast, reserved and unspecified ones are
    neither public nor this: no image server has one, so no setting opens them.
    """
    address = _carried(address)
    return _within(address, _PRIVATE) and not _within(address, _NEVER)


def matches_host(host: str, patterns: Iterable[str]) -> bool:
    """Whether ``host`` equals a pattern, or is below the domain of a ``*.domain`` pattern; case does not matter."""
    host = host.lower().rstrip(".")
    for pattern in patterns:
        wanted = pattern.lower().rstrip(".").strip("[]")
        if host == wanted or (wanted.startswith("*.") and len(host) >= len(wanted) and host.endswith(wanted[1:])):
            return True
    return False


def _carried(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _TRANSLATION:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _within(address: Address, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
