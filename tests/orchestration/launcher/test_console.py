"""What the command says at the end."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.launcher import platform
from orchestration.launcher.console import closing
from orchestration.settings import Settings


def test_addresses_and_a_line_to_try_are_of_services_that_stay_up(tmp_path: Path) -> None:
    settings = Settings.read(home=tmp_path, dataset="custom_b2b")
    lists = platform.lists_file(settings)
    lists.parent.mkdir(parents=True)
    pq.write_table(pa.table({"user_id": ["7"]}), lists)
    said = closing(settings, once=False)
    assert all(url in said for url in settings.urls.values())
    assert platform.curl_line(settings) in said
    ended = closing(settings, once=True)
    assert "http" not in ended
    assert "tradewind run --dataset custom_b2b" in ended
