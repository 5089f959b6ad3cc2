"""Items that another item succeeds: their events become events of the successor, and their rows leave the table."""

from collections.abc import Mapping

import pyarrow as pa

from recommenders.datasets.reading.source_reading import Reading

SUCCESSORS = "successors"  # a table of the reading: item_id, and the last item of its chain of successors


def read_successors(reading: Reading, label: str, dated: bool) -> bool:
    """Creates SUCCESSORS from the good rows of items; returns whether it has rows.

    label: the user's name of the column. dated: whether items have several rows, of which the newest one counts. A
    successor that is no item of the table, or whose chain leads back to the item, is left out and quarantined.
    """
    order = "valid_from nulls first" if dated else "item_id"
    rows = reading.run(f'select item_id, "successor" from good_items order by item_id, {order}')
    named = dict(rows)
    given = {item: successor for item, successor in named.items() if successor is not None}
    unknown = {item for item, successor in given.items() if successor not in named}
    circular = _on_cycles(given)
    reading.leave_out("items", f"{label} is no item; the value is left out", _listed(reading, "unknown", unknown))
    reading.leave_out(
        "items", f"{label} leads back to the item; the value is left out", _listed(reading, "circular", circular)
    )
    found = final_successors({item: to for item, to in given.items() if item not in unknown | circular})
    table = pa.table({"item_id": list(found), "successor": list(found.values())}, _schema("item_id", "successor"))
    reading.connection.register(SUCCESSORS, table)
    return bool(found)


def _listed(reading: Reading, name: str, items: set[str]) -> str:
    """SQL that is true for rows of these items."""
    reading.connection.register(f"{name}_successors", pa.table({"item_id": sorted(items)}, _schema("item_id")))
    return f'"successor" is not null and item_id in (select item_id from {name}_successors)'


def _schema(*names: str) -> pa.Schema:
    return pa.schema([(name, pa.string()) for name in names])


def final_successors(successors: Mapping[str, str]) -> dict[str, str]:
    """Item -> the last item of its chain. The chains have no cycle."""
    found: dict[str, str] = {}
    for start in successors:
        chain, item = [], start
        while item in successors and item not in found:
            chain.append(item)
            item = successors[item]
        found |= dict.fromkeys(chain, found.get(item, item))
    return found


def _on_cycles(successors: Mapping[str, str]) -> set[str]:
    """The items whose chain leads back to themselves."""
    done: set[str] = set()
    found: set[str] = set()
    for start in successors:
        chain: dict[str, int] = {}
        item = start
        while item in successors and item not in done and item not in chain:
            chain[item] = len(chain)
            item = successors[item]
        if item in chain:
            found |= {one for one, place in chain.items() if place >= chain[item]}
        done |= set(chain)
    return found
