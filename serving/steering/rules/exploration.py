"""Exploration: random items from further below take a few slots of a list, with the exact probability of each item.

Of a list with E slots that may be explored, and m further items that may be drawn, a share s is explored: s * E slots
in the mean, which is rounded up or down at random. Which slots, and which items they get, is uniform. So each of these
slots is explored with probability s, and then has each of the m items with probability 1 / m.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import floor
from random import Random

from serving.steering.rules.item_choice import Chosen


@dataclass(frozen=True)
class Draw:
    """The exploration of one list. seed: the id of the request, so that the list can be made again.

    share: of the slots that may be explored. depth: items are drawn down to this rank.
    """

    share: float
    depth: int
    seed: str

    def explored(
        self, items: Sequence[Chosen], further: Sequence[Chosen], pinned: Collection[int] = ()
    ) -> list[Chosen]:
        """A list in which some items are replaced; those that could be replaced, and the new ones, get a propensity.

        further: what may be drawn. pinned: slots, from 1, that keep their item, as the first one does.
        """
        places = [place for place in range(1, len(items)) if place + 1 not in pinned]
        found = list(items)
        if not places or not further:
            return found
        chance = min(self.share, len(further) / len(places))  # of a slot to be explored
        # random() alone gives the same numbers in each version of Python
        random = Random(self.seed).random
        n_drawn = floor(chance * len(places) + random())  # in the mean chance * len(places)
        n_drawn = min(n_drawn, len(places), len(further))  # a sum may round up
        for place in places:
            found[place] = items[place]._replace(propensity=1 - chance)
        slots = [places.pop(int(random() * len(places))) for _ in range(n_drawn)]
        left = list(further)
        for place in slots:
            item = left.pop(int(random() * len(left)))
            found[place] = item._replace(propensity=chance / len(further))
        return found
