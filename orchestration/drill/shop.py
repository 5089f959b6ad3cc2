"""The shop of a drill: its users ask the service for lists and buy; it exports its catalogue and reports the events."""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestration.drill.scenarios import DAMAGED, DrillScenario
from recommenders.simulation.feed import WRONG_UNIT
from recommenders.simulation.market_days import MarketDays, Visit
from recommenders.simulation.market_files import lines_table
from recommenders.simulation.tables import products_table, users_table
from recommenders.storage import schema
from recommenders.storage.atomic_files import atomic_file

K = 10  # items of a list
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
UNAVAILABLE, READY_SECONDS = 503, 30.0
BATCH = 1000  # events of one request, at most

Event = dict[str, Any]


class Shop:
    """The shop, its files in a folder, and its events to the service.

    first: day of the market on which the drill begins. change: day of the change or the fault.
    """

    def __init__(self, market: MarketDays, folder: Path, scenario: DrillScenario, first: int, change: int) -> None:
        self.market, self.folder, self.scenario, self.first, self.change = market, folder, scenario, first, change
        self._waiting: list[Event] = []  # that an outage keeps back
        self._rng = np.random.default_rng([market.world.config.seed, first])
        self._catalogue: pa.Table | None = None

    def export(self) -> None:
        """Writes users, catalogue and all orders before the drill."""
        config, eras = self.market.world.config, self.market.world.eras
        self.folder.mkdir(parents=True)
        pq.write_table(users_table(config, eras[0].users), self.folder / "buyers.parquet")
        lines = self.market.lines_between(config.lead_in_days, self.first)
        starts = np.append(True, (np.diff(lines["day"]) != 0) | (np.diff(lines["user"]) != 0))
        table = lines_table(config, lines, np.cumsum(starts) - 1)
        pq.write_table(table, self.folder / "order_lines.parquet")
        self.export_catalogue(self.first)

    def export_catalogue(self, day: int) -> None:
        """Writes the items that are launched by a day, if there are others than in the file."""
        config = self.market.world.config
        table = products_table(config, self.market.world.eras[-1].products)
        now = pa.scalar(self.moment(day), schema.TIME)
        table = table.filter(pc.less_equal(table["launched_at"], now))
        gone = pc.greater(table["ended_at"], now)  # the shop does not know yet when an item will end
        ended = pc.if_else(pc.fill_null(gone, True), pa.scalar(None, schema.TIME), table["ended_at"])
        table = table.set_column(table.schema.get_field_index("ended_at"), "ended_at", ended)
        if self._catalogue is None or not table.equals(self._catalogue):
            self._catalogue = table
            with atomic_file(self.folder / "products.parquet") as staging:
                pq.write_table(table, staging)

    def moment(self, day: int, second: int = 0) -> datetime:
        """A second of a day of the market, UTC."""
        date = self.market.world.config.first_date + timedelta(days=day)
        return datetime(date.year, date.month, date.day, tzinfo=UTC) + timedelta(seconds=second)

    def ask(self, service: httpx.Client, visit: Visit) -> dict[str, Any]:
        """The answer of the service: the list that the user sees."""
        asked = {"user_id": str(visit.user + 1), "n_recommendations": K}
        return post(service, "/predict", asked)

    def report(self, service: httpx.Client, visit: Visit, day: int, answer: dict[str, Any]) -> None:
        """Sends the events of a visit: what the user saw, what it clicked, and what it bought a minute later."""
        events = list(self._events(visit, day, answer))
        age = day - self.change
        if self.scenario.fault == "damaged events" and 0 <= age < self.scenario.fault_days:
            events = list(self._damaged(events))
        if self.scenario.fault == "no events" and 0 <= age < self.scenario.fault_days:
            self._waiting += events
            return
        self._send(service, [*self._waiting, *events])
        self._waiting = []

    def _events(self, visit: Visit, day: int, answer: dict[str, Any]) -> Iterator[Event]:
        seen = self.moment(day, visit.second) + SECOND  # after the list was made
        bought = {str(line["product"] + 1) for line in visit.lines}
        about = {"user_id": str(visit.user + 1), "request_id": answer["request_id"]}
        shown = [str(item["item_id"]) for item in answer["items"]]
        key = f"{day}-{visit.user}"
        for item in shown:
            yield {"event_id": f"{key}-i-{item}", "event": "impression", "item_id": item, "timestamp": seen} | about
        for item in (item for item in shown if item in bought):
            yield {"event_id": f"{key}-c-{item}", "event": "click", "item_id": item, "timestamp": seen + MINUTE} | about
        for line in visit.lines:
            item = str(line["product"] + 1)
            purchase: Event = {"event_id": f"{key}-p-{item}", "event": "purchase", "item_id": item, "order_id": key}
            purchase |= {"user_id": about["user_id"], "timestamp": seen + MINUTE}
            purchase |= {"quantity": float(line["quantity"]), "unit_price": float(line["unit_price"])}
            yield purchase | ({"request_id": about["request_id"]} if item in shown else {})

    def _damaged(self, events: Sequence[Event]) -> Iterator[Event]:
        """The events of a broken feed, as in recommenders.simulation.feed."""
        for event in events:
            kind = int(self._rng.random() / DAMAGED * 3) if event["event"] == "purchase" else 3
            if kind == 0:
                yield {name: value for name, value in event.items() if name != "unit_price"}
            elif kind == 1:
                yield event | {"unit_price": event["unit_price"] * WRONG_UNIT}
            else:
                yield event
            if kind == 2:
                yield event | {"event_id": f"{event['event_id']}-again"}

    def _send(self, service: httpx.Client, events: Sequence[Event]) -> None:
        as_text = [event | {"timestamp": event["timestamp"].isoformat()} for event in events]
        for start in range(0, len(as_text), BATCH):
            post(service, "/events", {"events": as_text[start : start + BATCH]})


def post(service: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer. As clients should, it asks again if the service is not ready. Raises httpx.HTTPStatusError."""
    until = time.monotonic() + READY_SECONDS
    while (answer := service.post(path, json=body)).status_code == UNAVAILABLE and time.monotonic() < until:
        time.sleep(0.1)
    found: dict[str, Any] = answer.raise_for_status().json()
    return found
