import ipaddress
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.web_guard import WebRefused, is_allowed, literal, networks, web_url

ANY_4 = st.integers(0, 2**32 - 1).map(IPv4Address)
ANY_6 = st.integers(0, 2**128 - 1).map(IPv6Address)
UNICAST_6 = st.integers(0, 2**125 - 1).map(lambda bits: IPv6Address(1 << 125 | bits))
PRIVATE_4 = st.sampled_from(("127.0.0.0/8", "10.0.0.0/8", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10")).flatmap(
    lambda text: st.integers(int((net := ipaddress.IPv4Network(text))[0]), int(net[-1])).map(IPv4Address)
)

REFUSED = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 168.63.129.16 169.254.0.1
169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1
198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 224.0.0.251 239.255.255.250 240.0.0.1 255.255.255.255
:: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:0:127.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1
100::1 2001::1 2001:0:a00:1::f5ff:fffe 2001:2::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1:: 2002:808:808::
3fff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fd20:ce::254 fe80::1 fec0::1 ff02::1 ff0e::1 8000::1
"""
INTERNET = """
1.1.1.1 8.8.8.8 9.9.9.9 11.0.0.1 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 169.253.255.255 172.15.255.255
172.32.0.1 192.0.1.1 192.167.255.255 198.17.255.255 198.20.0.0 223.255.255.255 2001:4860:4860::8888 2600::1
2a00:1450:4001::1 2606:4700:4700::1111 ::ffff:8.8.8.8 64:ff9b::808:808
"""


@pytest.mark.parametrize("text", REFUSED.split())
def test_what_is_not_on_the_internet_is_refused(text):
    assert not is_allowed(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", INTERNET.split())
def test_what_is_on_the_internet_is_allowed(text):
    assert is_allowed(ipaddress.ip_address(text))


@given(st.one_of(ANY_4, ANY_6, UNICAST_6))
def test_nothing_is_allowed_that_python_itself_knows_not_to_be_global(address):
    if not is_allowed(address):
        return
    plain = getattr(address, "ipv4_mapped", None) or address
    if plain in ipaddress.ip_network("64:ff9b::/96"):
        plain = IPv4Address(int(plain) & 0xFFFFFFFF)
    assert plain.is_global
    assert not any((plain.is_multicast, plain.is_reserved, plain.is_loopback, plain.is_link_local, plain.is_private))


@given(UNICAST_6)
def test_of_the_global_unicast_addresses_only_the_special_ones_are_refused(address):
    special = ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
    assert is_allowed(address) == (not any(address in net for net in networks(special)))


@given(ANY_4)
def test_an_ipv4_address_inside_an_ipv6_one_is_judged_as_what_it_is(address):
    assert is_allowed(IPv6Address(0xFFFF << 32 | int(address))) == is_allowed(address)
    assert is_allowed(IPv6Address((0x64_FF9B << 96) | int(address))) == is_allowed(address)


@given(PRIVATE_4, st.integers(0, 2**80 - 1))
def test_no_tunnel_leads_to_a_private_address(address, rest):
    bits = int(address)
    six_to_four = 0x2002 << 112 | bits << 80 | rest
    teredo = 0x2001_0000 << 96 | rest >> 32 << 32 | bits ^ 0xFFFFFFFF
    for carried in (bits, 0xFFFF_0000 << 32 | bits, six_to_four, teredo, 0x64_FF9B_0001 << 80 | bits):
        assert not is_allowed(IPv6Address(carried))


@given(PRIVATE_4)
def test_a_network_of_the_configuration_is_allowed_however_the_address_is_written(address):
    allowed = networks([f"{address}/30"])
    assert is_allowed(address, allowed)
    assert is_allowed(IPv6Address(0xFFFF << 32 | int(address)), allowed)
    assert not is_allowed(IPv4Address(int(address) ^ 4), allowed)


def test_a_neighbour_with_an_address_of_the_internet_is_refused_unless_named():
    own = networks(["2a02:8109:1:2::/64", "192.168.1.0/24"])
    neighbour = IPv6Address("2a02:8109:1:2::99")
    assert not is_allowed(neighbour, own=own)
    assert is_allowed(neighbour, networks(["2a02:8109:1:2::99"]), own)
    assert is_allowed(IPv6Address("2a02:8109:1:3::99"), own=own)


def test_an_address_with_a_zone_is_refused():
    assert not is_allowed(IPv6Address("2600::1%eth0"))


# --- URLs -------------------------------------------------------------------------------------------------------------
LOOPBACK_URLS = [
    "http://127.0.0.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7F.1/",
    "http://0x7f.0x0.0x0.0x1/",
    "http://0177.0.0.1/",
    "http://017700000001/",
    "http://00000177.0.0.1/",
    "http://127.0.0.1./",
    "http://0/",
    "http://0x/",
    "http://0.0.0.0/",
    "http://127.0.0.1%00.example.com/",
    "http://①②⑦.0.0.1/",
    "http://127。0。0。1/",
    "http://１２７.０.０.１/",
    "http://%31%32%37.0.0.1/",
    "http://[::1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[2002:7f00:1::]/",
    "http://[::]/",
    "http://[::1%25lo]/",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "https://169.254.169.254/latest/meta-data/",
]


@pytest.mark.parametrize("text", LOOPBACK_URLS)
def test_no_spelling_of_a_private_address_passes(text):
    with pytest.raises(WebRefused):
        web_url(text)


@pytest.mark.parametrize(
    "text",
    [
        "file:///etc/passwd",
        "FILE:///C:/Windows/win.ini",
        "ftp://example.com/a.wav",
        "gopher://example.com/_x",
        "data:audio/wav;base64,AAAA",
        "unix:///run/docker.sock",
        "javascript:alert(1)",
        "//example.com/a.wav",
        "/a.wav",
        "a.wav",
        "",
        "http:",
        "http://",
        "http:///a.wav",
        "http:example.com",
        "http://?x",
        "http://:80/",
        "http://example.com:0/",
        "http://example.com:65536/",
        "http://example.com:-1/",
        "http://example.com:80:80/",
        "http://user@example.com/",
        "http://user:secret@example.com/",
        "http://:@example.com/",
        "http://example.com@127.0.0.1/",
        "http://1.1.1.1 &@127.0.0.1# @8.8.8.8/",
        "http://example.com\\@127.0.0.1/",
        "http://example.com/a\r\nX-Injected: 1",
        "http://exam\tple.com/",
        "http://exam ple.com/",
        "http://example.com/\x00",
        "http://exa%6dple.com/",
        "http://a..b/",
        "http://.example.com/",
        "http://" + "a" * 64 + ".com/",
        "http://" + "a." * 127 + "com/",
        "http://[::1",
        "http://[1.2.3.4]/",
        "http://example.com;evil/",
        "http://" + "ü" * 7900 + "/",
        "//" + "ü" * 7900,
        "http://example.com/" + "a" * 8000,
    ],
)
def test_what_is_no_plain_web_address_is_refused(text):
    with pytest.raises(WebRefused):
        web_url(text)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("http://example.com", "http://example.com"),
        ("HTTPS://Example.COM:8443/a.wav?sig=a%2Bb%2F#part", "https://example.com:8443/a.wav?sig=a%2Bb/"),
        ("https://bücher.example/ü.wav", "https://xn--bcher-kva.example/%C3%BC.wav"),
        ("http://my_nas.example./x", "http://my_nas.example./x"),
        ("http://3com.example/", "http://3com.example/"),
        ("http://8.8.8.8/a.wav", "http://8.8.8.8/a.wav"),
        ("http://[2600::1]:8080/", "http://[2600::1]:8080/"),
        ("http://example.com/@user", "http://example.com/@user"),
    ],
)
def test_ordinary_urls_pass_as_they_are(text, asked):
    assert str(web_url(text)) == asked


@given(st.text(max_size=60), st.sampled_from(("", "http://", "https://", "http://[", "http://127.0.0.1", "http://a@")))
def test_any_text_is_a_web_address_or_refused(text, start):
    try:
        url = web_url(start + text)
    except WebRefused as refused:
        url, sentence = None, refused.sentence
    if url is None:
        assert sentence.endswith(".")
        return
    assert url.scheme in ("http", "https")
    assert url.user is None
    assert url.raw_host
    assert url.raw_host.isascii()
    address = literal(url.raw_host)
    assert address is None or is_allowed(address)


def test_the_loopback_can_be_allowed_by_name_of_its_network():
    assert web_url("http://127.0.0.1:8000/a", networks(["127.0.0.0/8"])).port == 8000
