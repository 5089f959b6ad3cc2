"""The models by name. A new model is one file and one line here."""

import importlib
from pathlib import Path

from recommenders.errors import UnknownNameError
from recommenders.models.recommender import Recommender
from recommenders.storage.bundle import read_manifest

# Lazy names: a process that serves one model imports that one alone. Models made of others come last.
MODELS: dict[str, str] = {
    "popularity": "recommenders.models.popularity:Popularity",
    "content_based": "recommenders.models.content_based:ContentBased",
    "collaborative_filtering": "recommenders.models.collaborative_filtering.model:CollaborativeFiltering",
    "repurchase": "recommenders.models.repurchase:Repurchase",
    "ease": "recommenders.models.ease:EASE",
    "ials": "recommenders.models.ials.model:IALS",
    "sasrec": "recommenders.models.networks.sasrec.model:SASRec",
    "neural_collaborative": "recommenders.models.networks.neural_collaborative.model:NeuralCollaborative",
    "hybrid": "recommenders.models.ensembles.hybrid:Hybrid",
    "hybrid_learned": "recommenders.models.ensembles.hybrid_learned.model:HybridLearned",
}
COMPOSED = ("hybrid", "hybrid_learned")


def model_class(name: str) -> type[Recommender]:
    """The class of that name. Raises UnknownNameError with the names there are."""
    if name not in MODELS:
        raise UnknownNameError("model", name, MODELS)
    module, class_name = MODELS[name].split(":")
    found: type[Recommender] = getattr(importlib.import_module(module), class_name)
    return found


def load(folder: Path) -> Recommender:
    """The model of any bundle, whichever it is. Raises BundleError if the folder holds none."""
    return model_class(read_manifest(folder)["model"]).load(folder)
