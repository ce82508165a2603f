"""Requests to addresses that users name: only to public ones, and only to the address that was checked."""

import asyncio
import ipaddress
import socket
import ssl
from functools import cache
from typing import Final

import httpx2

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class AddressRefusedError(httpx2.ConnectError):
    """The host is not one that this server connects to; the message names the remedy."""


def is_public(address: str) -> bool:
    """Return whether an IP address is of the public internet, whatever IPv6 form an IPv4 address comes in."""
    ip: Address = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip.sixtofour or (_low_32_bits(ip) if ip in _NAT64 else ip)
    return ip.is_global and not ip.is_multicast


def _low_32_bits(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)


async def resolve(host: str, *, allow_private: bool) -> list[str]:
    """Return the IP addresses of a host.

    Raises:
        AddressRefusedError: one of them is not public, and that is not allowed.
        OSError: it has none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not allow_private and not all(is_public(address) for address in addresses):
        raise AddressRefusedError(
            f"{host!r} has an address that is private, loopback or link-local: give one of the public internet, or let "
            "the operator set WAYSTATION_ALLOW_PRIVATE_ADDRESSES"
        )
    return addresses


@cache
def _ssl_context() -> ssl.SSLContext:
    """Return the trusted certificates, whose reading takes long enough to do it once."""
    return httpx2.create_ssl_context()


class CheckedTransport(httpx2.AsyncBaseTransport):
    """Resolves a request's host once, checks what it found, and connects to that; TLS still verifies the host's name.

    Connections are not reused: another host may have the same address.
    """

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        limits = httpx2.Limits(max_keepalive_connections=0)
        self._inner = httpx2.AsyncHTTPTransport(verify=_ssl_context(), limits=limits)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.host
        try:
            addresses = await resolve(host, allow_private=self._allow_private)
        except (OSError, UnicodeError) as error:
            raise httpx2.ConnectError(f"{host!r} has no address", request=request) from error
        failed: httpx2.TransportError = httpx2.ConnectError(f"{host!r} has no address", request=request)
        for address in addresses:
            try:
                return await self._inner.handle_async_request(_at(address, request))
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failed = error
        raise failed

    async def aclose(self) -> None:
        await self._inner.aclose()


def _at(address: str, request: httpx2.Request) -> httpx2.Request:
    """Return a request as it goes to one address; its `Host` header stays as it is."""
    return httpx2.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.host},
    )


def checked_client(*, allow_private: bool, timeout_s: float) -> httpx2.AsyncClient:
    """Return a client for addresses that users name: no redirects, no proxies, no credentials of the environment."""
    transport = CheckedTransport(allow_private=allow_private)
    return httpx2.AsyncClient(transport=transport, timeout=timeout_s, follow_redirects=False, trust_env=False)
