"""Our predictor with its precomputed lists, for servers of other frameworks."""

from pathlib import Path

from serving.champion.pointer import fingerprint
from serving.lists import precomputed
from serving.lists.predictor import Predictor


def load(bundle: Path) -> Predictor:
    """The predictor of a bundle, warmed up, with the lists beside the bundle."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    predictor = Predictor(bundle)
    predictor.precomputed = precomputed.PrecomputedLists.load(precomputed.folder_of(bundle), fingerprint(bundle))
    predictor.warm_up()
    return predictor
