"""Measures one list of one user on one core where the catalogue is large: 200,000 items.

    python benchmarks/large_catalogue.py [--items 200000] [--requests 500] [--quick] [--json]

hybrid_learned and each of its base models are fitted on a made log of 100,000 users and 1.5 million events, with made
features. Then they are measured as in predict_path.py: every list is made from the scores of all items.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from measuring import result_table
from measuring.synthetic.logs import made_features, retailrocket_like
from predict_path import FLAGSHIP, measure

from recommenders.models.all_models import model_class
from recommenders.models.ensembles.ensemble import Ensemble

N_ITEMS, QUICK_ITEMS = 200_000, 1_000
FLOOR_MS = 6.0  # of hybrid_learned, per request
USERS_PER_ITEM, EVENTS_PER_ITEM = 0.5, 7.5


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    parser = result_table.arguments(__doc__)
    parser.add_argument("--items", type=int, default=N_ITEMS, help="number of items of the catalogue")
    parser.add_argument("--requests", type=int, default=500, help="number of requests of each kind")
    options = parser.parse_args()
    started = time.perf_counter()
    n_items = QUICK_ITEMS if options.quick else options.items
    print(result_table.HEAD)
    with TemporaryDirectory() as folder:
        rows = []
        bundles = make_bundles(Path(folder), n_items)
        for name, bundle in list(bundles.items())[: 1 if options.quick else None]:
            bounds = {"floor": FLOOR_MS} if name == FLAGSHIP else {}
            rows += measure(name, bundle, 20 if options.quick else options.requests, bounds)
    result_table.finish("large_catalogue", rows, started, options.as_json, {}, n_items == N_ITEMS)


def make_bundles(folder: Path, n_items: int) -> dict[str, Path]:
    """Model -> its bundle: hybrid_learned and its base models, fitted with their default configurations."""
    log = retailrocket_like(round(USERS_PER_ITEM * n_items), n_items, round(EVENTS_PER_ITEM * n_items))
    model = model_class(FLAGSHIP)().fit(log, made_features(n_items))
    assert isinstance(model, Ensemble)
    models = {FLAGSHIP: model, **model.base_models_}
    return {name: one.save(folder / name) for name, one in models.items()}


if __name__ == "__main__":
    main()
