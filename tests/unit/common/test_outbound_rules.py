"""Which URLs and addresses may be called, as a table."""

from ipaddress import ip_address

import pytest

from workers.common.outbound import OutboundRefused, Rules

NONE = Rules()
LOOPBACK = Rules.of(["127.0.0.0/8", "::1/128"])


@pytest.mark.parametrize(
    "url",
    ["https://tx.example/", "https://tx.example:8443/a?b=c", "https://93.184.215.14/x", "https://[2606:2800:21f::1]:443/"],
)
def test_what_may_be_called(url):
    assert NONE.check_url(url).hostname


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "//tx.example/",
        "ftp://tx.example/",
        "file:///etc/passwd",
        "http://tx.example/",
        "https://user@tx.example/",
        "https://user:pw@tx.example/",
        "https://tx.example/#part",
        "https://tx.example/#",
        "https://tx.example:22/",
        "https://tx.example:80/",
        "https://tx.example:0/",
        "https://tx.example:99999/",
        "https://tx.example:x/",
        "https://tx.example/a b",
        "https://tx.example/\r\nx: y",
        "https://tx.example\\@evil.example/",
        "https://tx.ex\u00e4mple/",
        "https://[::1/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://[fe80::1]/",
        "https://[fd00::1]/",
        "https://224.0.0.1/",
        "https://0.0.0.0/",
        "https://100.64.0.1/",
        "https://tx.example/" + "a" * 3000,
    ],
)
def test_what_may_not_be_called(url):
    """INVARIANT: no URL that somebody else chose makes the fabric call an address that only the fabric can reach.

    Reading the host by text instead of as an address, or forgetting one way to write one, would break it.
    """
    with pytest.raises(OutboundRefused) as refused:
        NONE.check_url(url)
    assert not url or url not in str(refused.value)


def test_plain_http_is_for_allowed_loopback_alone():
    assert LOOPBACK.check_url("http://127.0.0.1:8080/").port == 8080
    assert LOOPBACK.check_url("http://[::1]:8080/").port == 8080
    for url in ("http://localhost:8080/", "http://93.184.215.14:8080/", "http://10.0.0.1:8080/"):
        with pytest.raises(OutboundRefused):
            LOOPBACK.check_url(url)
    with pytest.raises(OutboundRefused):
        Rules.of(["10.0.0.0/8"]).check_url("http://10.0.0.1:8080/")


def test_what_is_allowed_by_name_is_no_wider():
    rules = Rules.of(["10.1.0.0/16"])
    rules.check_address(ip_address("10.1.2.3"))
    rules.check_address(ip_address("::ffff:10.1.2.3"))
    for other in ("10.2.0.1", "127.0.0.1", "::1"):
        with pytest.raises(OutboundRefused):
            rules.check_address(ip_address(other))
