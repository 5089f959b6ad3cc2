"""Empty feedback stores, in SQLite and in a real PostgreSQL."""

from urllib.parse import quote

import pytest
from sqlalchemy import create_engine, text


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def url(request, tmp_path):
    """An empty store of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'events.db'}"
    url = request.getfixturevalue("postgres").replace("${CUSTOM_PASSWORD}", quote("p@ss/w:rd", safe=""))
    with create_engine(url.replace("postgresql:", "postgresql+psycopg2:")).begin() as connection:
        connection.execute(text("drop schema public cascade"))
        connection.execute(text("create schema public"))
    return url
