"""The pages: escaped values, no file from another host, and the files that they link to."""

import re
import struct

from serving.traffic.metrics.counters import Metrics
from serving.web import pages


def test_the_page_escapes_values_and_loads_no_external_files():
    metrics = Metrics()
    metrics.record_request(200, 0.001)
    metrics.record_list("<script>", "1")
    page = pages.analytics(metrics.summary()).decode()
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_section_without_figures_says_so():
    page = pages.analytics(Metrics().summary()).decode()
    assert page.count("none yet") == 6  # endpoints, strategies, versions, statuses, events, answers
    assert re.search(r"<th>p50</th>\s*<td>-</td>", page)


def test_the_pages_link_the_icon():
    for page in (pages.static_file("docs.html"), pages.analytics(Metrics().summary())):
        assert b'<link rel="icon" href="favicon.ico">' in page


def test_the_icon_is_a_small_png():
    icon = pages.static_file("favicon.png")
    assert icon.startswith(b"\x89PNG")
    assert struct.unpack(">II", icon[16:24]) == (32, 32)
    assert len(icon) < 2000
