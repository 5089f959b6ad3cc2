"""All models: name -> class, summary. Configuration, assets and the reference are made from it."""

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from recommenders.errors import UnknownNameError
from recommenders.events.context import FittedContext
from recommenders.models.recommender import Recommender
from recommenders.storage.bundle import read_base_model, read_manifest

TORCH = frozenset({"torch"})


class Entry(NamedTuple):
    """A model of the platform. Its configuration is the attribute `Config` of its class."""

    location: str  # "module:Class"; imported when needed: a process that serves one model imports only that one
    summary: str  # one sentence, shown on the asset's page
    trained_with: frozenset[str] = frozenset()  # libraries that only a fit imports


# To add a model, add its file and one entry here: configuration, assets and reference follow. Ensembles come last.
MODELS: dict[str, Entry] = {
    "popularity": Entry(
        "recommenders.models.popularity:Popularity",
        "The most purchased items; newer purchases count more. The fallback for unknown users.",
    ),
    "content_based": Entry(
        "recommenders.models.content_based:ContentBased",
        "Items similar to those of the user, by category, brand, price, rating and text.",
    ),
    "collaborative_filtering": Entry(
        "recommenders.models.collaborative_filtering.model:CollaborativeFiltering",
        "Items of the most similar users.",
    ),
    "repurchase": Entry(
        "recommenders.models.repurchase:Repurchase",
        "Items that the user is due to purchase again, by how often, how regularly and how long ago.",
    ),
    "ease": Entry(
        "recommenders.models.ease:EASE",
        "EASE: the weight of each item for each other item, in closed form.",
    ),
    "ials": Entry(
        "recommenders.models.ials.model:IALS",
        "iALS: user and item factors by implicit alternating least squares.",
    ),
    "sasrec": Entry(
        "recommenders.models.networks.sasrec.model:SASRec",
        "SASRec: self-attention over the events of the user, in their order.",
        TORCH,
    ),
    "neural_collaborative": Entry(
        "recommenders.models.networks.neural_collaborative.model:NeuralCollaborative",
        "NeuMF: matrix factorization and a multilayer perceptron over the user and recent events.",
        TORCH,
    ),
    "hybrid": Entry(
        "recommenders.models.ensembles.hybrid:Hybrid",
        "The ensemble of the base models by the configured weights.",
    ),
    "hybrid_learned": Entry(
        "recommenders.models.ensembles.hybrid_learned.model:HybridLearned",
        "The learned ranker over the candidates of all base models, fitted on earlier windows.",
    ),
}
ENSEMBLES = ("hybrid", "hybrid_learned")
QUICK = ("popularity", "repurchase", "ease")  # fitted in seconds: one of them serves until all models are fitted


def model_class(name: str) -> type[Recommender]:
    """The class of a model name. Raises UnknownNameError, which lists the known names."""
    if name not in MODELS:
        raise UnknownNameError("model", name, MODELS)
    module, class_name = MODELS[name].location.split(":")
    found: type[Recommender] = getattr(importlib.import_module(module), class_name)
    return found


def load(folder: Path) -> Recommender:
    """Loads a model from a bundle of any model class. Raises BundleError if the folder holds no bundle."""
    manifest = read_manifest(folder)
    model = model_class(manifest["model"]).load(folder)
    if not model.base_models_:  # an ensemble has loaded its own
        model.base_models_ = load_base_models(folder, manifest["base_models"], model.context_)
    return model


def load_base_models(folder: Path, names: Iterable[str], context: FittedContext) -> dict[str, Recommender]:
    """Loads the models inside a bundle, which share its context. Raises BundleError."""
    found = {}
    for name in names:
        content = read_base_model(folder, name)
        model = model_class(content.model)(model_class(content.model).Config(**content.config))
        model.context_, model.provenance = context, content.provenance
        model.restore(content.arrays)
        found[name] = model
    return found
