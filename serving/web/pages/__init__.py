"""The HTML pages of the service: templates/ is rendered by Jinja2, static/ is sent as it is.

They load files from this service only: the security header forbids everything else.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # imported when the first page is made: most services only answer requests
    from jinja2 import Template

FOLDER = Path(__file__).parent

SECURITY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
}

SWAGGER_FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
}


@cache
def static_file(name: str) -> bytes:
    """The content of a file in static/."""
    return (FOLDER / "static" / name).read_bytes()


def analytics(figures: Mapping[str, Any]) -> bytes:
    """Metrics.summary() as an HTML page that refreshes itself."""
    latencies = {name: "-" if value is None else f"{value:.2f} ms" for name, value in figures["latency_ms"].items()}
    sections = {
        "Requests": {
            "requests": figures["requests"],
            "errors": figures["errors"],
            "requests per second": figures["requests_per_second"],
        },
        "Requests by endpoint": figures["endpoints"],
        "Latency of /predict": latencies,
        "Strategies": figures["strategies"],
        "Versions served": figures["versions"],
        "Statuses": figures["statuses"],
        "Events": figures["events"],
        "Answers stored": figures["answers"],
    }
    return _template("analytics.html").render(since=figures["since"], sections=sections).encode()


@cache
def _template(name: str) -> "Template":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
