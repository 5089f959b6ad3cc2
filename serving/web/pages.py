"""The HTML pages of the service.

They load files from this service only: the security header forbids everything else.
"""

from collections.abc import Mapping
from html import escape
from typing import Any

SECURITY = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        b"connect-src 'self'; frame-ancestors 'none'",
    ),
)

ASSETS = {
    "swagger-ui-bundle.js": b"text/javascript; charset=utf-8",
    "swagger-ui.css": b"text/css; charset=utf-8",
    "favicon-light-32x32.png": b"image/png",
}

DOCS = b"""<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <title>Tradewind API</title>
  <link rel="icon" type="image/png" href="docs/favicon-light-32x32.png">
  <link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
  <div id="swagger-ui"></div>
  <script src="docs/swagger-ui-bundle.js"></script>
  <script src="docs/start.js"></script>
</body>
</html>
"""

# validatorUrl: without it Swagger sends the document to a validator on the internet.
DOCS_SCRIPT = b"""SwaggerUIBundle({
  url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, tryItOutEnabled: true, validatorUrl: null
});
"""

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 48rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
table { border-collapse: collapse; width: 100%; }
td, th { border-bottom: 1px solid #d8dee5; padding: .3rem .5rem; text-align: left; font-weight: normal; }
td:last-child { text-align: right; font-variant-numeric: tabular-nums; }
p { color: #5b6a79; }
"""


def analytics(figures: Mapping[str, Any]) -> bytes:
    """Recorder.summary() as an HTML page that refreshes itself."""
    totals = {
        "requests": figures["requests"],
        "errors": figures["errors"],
        "requests per second, last minute": figures["requests_per_second"],
    }
    latencies = {name: "-" if value is None else f"{value:.2f} ms" for name, value in figures["latency_ms"].items()}
    sections = [
        ("Requests", totals),
        ("Latency of the newest requests", latencies),
        ("Strategies", figures["strategies"]),
        ("Versions served", figures["versions"]),
        ("Statuses", figures["statuses"]),
    ]
    body = "".join(f"<h2>{escape(title)}</h2>{_table(rows)}" for title, rows in sections)
    page = f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta http-equiv="refresh" content="5"><title>Tradewind service</title>
<style>{STYLE}</style></head>
<body><h1>Tradewind service</h1><p>since {escape(figures["since"])}</p>{body}</body>
</html>
"""
    return page.encode()


def _table(rows: Mapping[str, Any]) -> str:
    if not rows:
        return "<p>none yet</p>"
    lines = (f"<tr><th>{escape(str(name))}</th><td>{escape(str(value))}</td></tr>" for name, value in rows.items())
    return f"<table>{''.join(lines)}</table>"
