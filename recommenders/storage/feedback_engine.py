"""Connections to the feedback store, by its URL: one place that knows which databases it may be."""

from sqlalchemy import URL, Engine, create_engine, make_url

from recommenders.errors import ConfigurationError

ALLOWED = ("sqlite", "postgresql")


def store_url(url: str) -> URL:
    """The parsed URL. Raises ConfigurationError if it is neither sqlite:///FILE nor postgresql://..."""
    parsed = make_url(url)
    if parsed.get_backend_name() not in ALLOWED:
        raise ConfigurationError(
            f"feedback_url: got {parsed.get_backend_name()}://...; allowed: sqlite:///FILE or postgresql://...; "
            "set TRADEWIND_FEEDBACK_URL"
        )
    return parsed


def postgresql_engine(url: URL) -> Engine:
    """The engine of a PostgreSQL. Raises ConfigurationError if its driver is not installed."""
    try:
        return create_engine(url.set(drivername="postgresql+psycopg2"), pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"feedback_url: postgresql needs a driver: {error}; pip install -e '.[postgres]'"
        ) from error


def cause(error: Exception) -> str:
    """The driver's message in one line, without the statement and its values."""
    return " ".join(str(getattr(error, "orig", error)).split())
