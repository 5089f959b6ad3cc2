"""Configuration of NeuMF."""

from typing import ClassVar

from pydantic import Field

from recommenders.models.networks.config import NetworkConfig
from recommenders.models.search_space import Choice, Range, SearchSpace

NAME = "neural_collaborative"


class NeuralCollaborativeConfig(NetworkConfig):
    """Shape and training of the network."""

    embedding_dim: int = Field(
        default=50,
        ge=1,
        description="Length of each half of an embedding. One half holds the factors, the other the input of the "
        "layers.",
    )
    hidden_layers: tuple[int, ...] = Field(
        default=(128, 64, 32), min_length=1, description="Widths of the hidden layers, the first layer first."
    )
    pooling_half_lives: tuple[float, ...] = Field(
        default=(1.0, 8.0, 64.0),
        description="Half-lives of history pooling: the number of later events after which an event counts half. Each "
        "half-life adds one weighted mean of the history.",
    )
    history_length: int = Field(
        default=128, ge=1, description="Number of newest events of a history that history pooling uses."
    )
    min_user_events: int = Field(
        default=5, ge=1, description="Minimum number of events of a user who gets a user embedding."
    )
    user_embedding_dropout: float = Field(
        default=0.3,
        ge=0,
        lt=1,
        description="Probability that a training step drops the embedding of a user, so that the network also learns "
        "to score users without one.",
    )
    side_features: bool = Field(
        default=False, description="Whether a layer of the item features is added to the item embeddings."
    )
    pretraining_epochs: int = Field(
        default=0, ge=0, description="Number of first epochs, which train the factors without the layers."
    )
    learning_rate: float = Field(
        default=0.001, gt=0, description="Learning rate of the layers; that of the embeddings is 6 times as high."
    )
    batch_size: int = Field(
        default=1024,
        ge=1,
        description="Number of positives of a training step, without their negatives. If this key is not set, "
        "`data.batch_size` is used.",
    )
    n_negatives: int = Field(
        default=8, ge=1, description="Number of negatives of each positive; only these items go through the layers."
    )
    negative_pool: int = Field(
        default=512,
        ge=1,
        description="Number of items drawn for a training step. The factors choose negatives from them.",
    )
    negative_power: float = Field(
        default=0.75,
        ge=0,
        le=1,
        description="The probability that an item is drawn is proportional to (1 + its events) to this power; 0: all "
        "items alike.",
    )
    half_life_share: float | None = Field(
        default=1 / 6,
        gt=0,
        description="Half-life of the weight of a training event, as a share of the span of a log with dates. An old "
        "event keeps at least a sixth of the weight of a new one; null: all events count the same.",
    )
    min_gain: float = Field(
        default=0.01, ge=0, description="Relative gain of the validation metric that counts as clearly better."
    )
    validation_split: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Share of the users with earlier events whose latest visit is held out for validation. If this key "
        "is not set, `data.validation_split` is used.",
    )

    search_space: ClassVar[SearchSpace] = {
        "embedding_dim": Choice(choices=(32, 50, 100)),
        "learning_rate": Range(low=0.0003, high=0.003, log=True),
        "dropout": Range(low=0.0, high=0.4),
        "user_embedding_dropout": Range(low=0.0, high=0.6),
        "min_user_events": Range(low=2, high=20, log=True),
        "n_negatives": Range(low=4, high=32, log=True),
    }
