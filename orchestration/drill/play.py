"""Plays a scenario day by day: users visit, the platform looks at the evening, and each day is recorded."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from monitoring.alerts.listing import recent_alerts
from monitoring.drift.feed.problems import describe
from orchestration.drill.bad_model import force_bad_model
from orchestration.drill.isolation import drill_settings, environment, own_environment
from orchestration.drill.lists import ModelLists, as_rows, best_list, retrained, value_of
from orchestration.drill.rounds import Rounds
from orchestration.drill.scenarios import QUIET_DAYS, SCENARIOS, WEEK, DrillScenario
from orchestration.drill.shop import Shop
from orchestration.io_manager import Lake
from orchestration.jobs import CAUSE_TAG, DRIFT, PERSONS, RETRAINING
from orchestration.launcher.platform_state import await_champion, live_pointer
from orchestration.launcher.services import services
from orchestration.launcher.supervisor import Supervisor
from orchestration.sensors.monitoring import quality_of, report_of
from orchestration.settings import Settings
from recommenders.clock import drill_clock, now_us, set_time
from recommenders.errors import ReleaseError
from recommenders.simulation.config import Scenario, WorldConfig
from recommenders.simulation.market_days import MarketDays, Visit, exchange
from recommenders.simulation.purchase_model import make_world
from serving.release.registry import Registry
from serving.settings import PROJECT

FIRST = date(2025, 3, 3)  # of the drill, a Monday; all its days are in the past, so that no event is in the future
LOG_DAYS = 26 * WEEK  # before it
USERS, PRODUCTS, ORDERS_A_DAY = 300, 500, 33
EVENING = 23 * 3600  # second of the day at which the platform looks
READY_SECONDS = 60.0
CONFIG = PROJECT / "configs" / "drill.yaml"


Echo = Callable[[str], None]


@dataclass(frozen=True)
class Day:
    """What was seen on one day.

    version: that serves in the evening. values: name of the list -> sums over the visits of orchestration.drill.lists
    Values; "retrained" only from the change on, "version before" only after a promotion. ndcg: name of the list -> its
    NDCG for each visit. drifted, drift: of the newest window. feed: faults of a broken feed, "" if there are none.
    decay, release: why the quality fell while the champion served, or with its release, else "". runs: that a sensor
    started. alerts: new ones.
    """

    date: str
    version: int
    n_visits: int
    values: dict[str, dict[str, float]]
    ndcg: dict[str, list[float]]
    drifted: list[str]
    drift: str
    feed: str
    decay: str
    release: str
    runs: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[dict[str, str]] = field(default_factory=list)
    decisions: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Record:
    """A played scenario. change: index of the day from which on it acts."""

    scenario: str
    seed: int
    change: int
    days: list[Day]


def world_config(scenario: DrillScenario, days: int, seed: int) -> WorldConfig:
    """The market of a drill: half a year of log, then its days."""
    length = LOG_DAYS + days
    change = FIRST + timedelta(days=QUIET_DAYS)
    changes = (Scenario(scenario.change, change, scenario.strength),) if scenario.change and days > QUIET_DAYS else ()
    return WorldConfig(
        n_users=USERS,
        n_products=PRODUCTS,
        n_orders=ORDERS_A_DAY * length,
        seed=seed,
        end=FIRST + timedelta(days=days - 1),
        days=length,
        scenarios=changes,
    )


def play(
    name: str, days: int, seed: int, home: Path, config: Path = CONFIG, echo: Echo = lambda _: None, **given: Any
) -> Record:
    """Plays a scenario below an empty folder. given: further settings."""
    scenario = SCENARIOS[name]
    with ExitStack() as stack:
        stack.enter_context(own_environment())
        clock = home / "clock"
        set_time(clock, datetime.fromisoformat(f"{FIRST}T00:00:00+00:00") - timedelta(hours=1))
        stack.enter_context(drill_clock(clock))
        settings = drill_settings(home, home / "shop", config).model_copy(update=given)
        stack.enter_context(environment(settings.environment()))
        return stack.enter_context(Drill(name, scenario, days, seed, settings, clock, echo)).play()


class Drill:
    """One scenario that is being played."""

    def __init__(
        self, name: str, scenario: DrillScenario, days: int, seed: int, settings: Settings, clock: Path, echo: Echo
    ) -> None:
        self.name, self.scenario, self.n_days, self.seed = name, scenario, days, seed
        self.settings, self.clock, self.echo = settings, clock, echo
        world = make_world(world_config(scenario, days, seed))
        self.first = world.config.lead_in_days + LOG_DAYS  # day of the market
        self.change = QUIET_DAYS
        exchanged = exchange(world, self.first + self.change) if scenario.exchanged else None
        self.market = MarketDays(world, exchanged)
        assert settings.source is not None
        self.shop = Shop(self.market, settings.source, scenario, self.first, self.first + self.change)
        self.lists: dict[str, ModelLists] = {}
        self.champion: tuple[int, ModelLists] | None = None  # the version that serves, and its lists
        self.lake, self.registry = Lake(root=str(settings.lake)), Registry(settings)
        self._stack = ExitStack()
        self._n_alerts = 0

    def __enter__(self) -> "Drill":
        self.registry.prepare()
        self.rounds = self._stack.enter_context(Rounds(self.settings))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def play(self) -> Record:
        """All days."""
        self.shop.export()
        self._first_champion()
        group = self._stack.enter_context(Supervisor([s for s in services(self.settings) if s.name == "service"]))
        group.start().wait_ready(READY_SECONDS)
        self.service = self._stack.enter_context(httpx.Client(base_url=self.settings.urls["service"], trust_env=False))
        days = []
        for number in range(self.n_days):
            days.append(self._day(number))
            if (number + 1) % WEEK == 0:
                self.echo(week_line(self.name, number, days[-WEEK:]))
        return Record(self.name, self.seed, self.change, days)

    def _first_champion(self) -> None:
        """Trains on the log before the drill, in the night before its first day."""
        if problem := self.rounds.run(RETRAINING, {CAUSE_TAG: PERSONS[0]}):
            raise ReleaseError(f"the first champion of the drill could not be trained: {problem}")
        self.rounds.poll()  # the first poll only stores where it begins
        self.lists["never retrained"] = ModelLists(self._bundle())

    def _day(self, number: int) -> Day:
        day = self.first + number
        self._begin(number)
        values: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        ndcg: dict[str, list[float]] = defaultdict(list)
        visits = self.market.visits(day)
        users = np.array([visit.user for visit in visits], dtype=np.int64)
        chances = self.market.probabilities(day, users) if len(users) else np.zeros((0, 0), np.float32)
        for visit, of_visit in zip(visits, chances, strict=True):
            for name, items in self._lists_of(visit, day, of_visit):
                found = value_of(items, of_visit, visit)
                ndcg[name].append(round(found.ndcg, 4))
                for key, value in asdict(found).items():
                    values[name][key] += value
        models = {id(lists): lists for lists in (*self.lists.values(), *(self.champion or ())[1:])}
        for lists in models.values():
            for visit in visits:
                lists.add(visit)
        set_time(self.clock, self.shop.moment(day, EVENING))
        return self._evening(number, len(visits), {name: dict(sums) for name, sums in values.items()}, dict(ndcg))

    def _begin(self, number: int) -> None:
        """The start of a day: the catalogue, and the models that the scenario and the platform have changed."""
        set_time(self.clock, self.shop.moment(self.first + number))
        self.shop.export_catalogue(self.first + number)
        if number == self.change and self.scenario.fault == "bad model":
            force_bad_model(self.settings, self.seed)
        pointer = live_pointer(self.settings)
        age = number - self.change
        if self.scenario.is_drift and age > 0 and age % WEEK == 0:
            folder = self.settings.home / "retrained" / str(number)
            self.lists["retrained"] = retrained(self.settings, pointer.model, folder)
        if self.champion is None or self.champion[0] != pointer.version:
            if self.champion:
                self.lists["version before"] = self.champion[1]
            self.champion = pointer.version, ModelLists(self._bundle())
        await_champion(self.settings, pointer.version)

    def _bundle(self) -> Path:
        """The folder of the champion's bundle."""
        return live_pointer(self.settings).bundle_folder(self.settings.pointer)

    def _lists_of(self, visit: Visit, day: int, chances: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        set_time(self.clock, self.shop.moment(day, visit.second))
        answer = self.shop.ask(self.service, visit)
        self.shop.report(self.service, visit, day, answer)
        yield "served", as_rows([str(item["item_id"]) for item in answer["items"]])
        yield "oracle", best_list(chances)
        now = now_us()
        for name, lists in self.lists.items():
            yield name, lists.list_for(visit, now)

    def _evening(
        self, number: int, n_visits: int, values: dict[str, dict[str, float]], ndcg: dict[str, list[float]]
    ) -> Day:
        """The drift report and the online quality, then a round of the sensors with the runs that they start."""
        problem = self.rounds.run(DRIFT, {CAUSE_TAG: "schedule"})
        decided = len(self.rounds.decisions)
        runs = [asdict(run) for run in self.rounds.poll()]
        if problem:
            runs.append({"sensor": "", "cause": DRIFT, "succeeded": False, "reason": problem})
        report, quality = report_of(self.lake, self.settings.dataset), quality_of(self.lake, self.settings.dataset)
        return Day(
            date=str(FIRST + timedelta(days=number)),
            version=live_pointer(self.settings).version,
            n_visits=n_visits,
            values=values,
            ndcg=ndcg,
            drifted=list(report.recent[-1]) if report and report.recent else [],
            drift=report.summary if report else "",
            feed=(describe(report.feed_problems) if report else "") or (quality.silence if quality else ""),
            decay=quality.decay.reason if quality and quality.decay.fell else "",
            release=quality.release.reason if quality and quality.release.fell else "",
            runs=runs,
            alerts=self._new_alerts(),
            decisions=[dict(decision) for decision in self.rounds.decisions[decided:]],
        )

    def _new_alerts(self) -> list[dict[str, str]]:
        found = recent_alerts(self.settings.alerts.outbox, 10_000)
        new = found[: len(found) - self._n_alerts]
        self._n_alerts = len(found)
        return [{"kind": one.kind, "severity": one.severity, "title": one.title} for one in reversed(new)]


def week_line(name: str, number: int, days: list[Day]) -> str:
    """A line about a week."""
    n_visits = sum(day.n_visits for day in days)
    shares = {
        key: sum(day.values[key]["ndcg"] for day in days if key in day.values) / max(n_visits, 1)
        for key in ("served", "never retrained")
    }
    drifted = sorted({column for day in days for column in day.drifted})
    retrained = [run["cause"] for day in days for run in day.runs]
    return (
        f"{name}: week {number // WEEK + 1}, NDCG {shares['served']:.3f} of the oracle's, never retrained "
        f"{shares['never retrained']:.3f}; drifted: {', '.join(drifted) or 'nothing'}; "
        f"retrainings: {', '.join(retrained) or 'none'}; version {days[-1].version}"
    )
