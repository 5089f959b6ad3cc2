"""What NeuMF can be set to."""

from typing import TYPE_CHECKING

from pydantic import Field

from recommenders.models.recommender import ModelConfig

if TYPE_CHECKING:
    pass


class NeuralCollaborativeConfig(ModelConfig):
    """Shape and training of the network."""

    embedding_dim: int = Field(default=50, ge=1)
    hidden_layers: tuple[int, ...] = Field(default=(128, 64, 32), min_length=1)
    half_lives: tuple[float, ...] = (1.0, 8.0, 64.0)  # events after which one of the history counts half
    history_length: int = Field(default=128, ge=1)  # newest events that are looked at
    own_vector_events: int = Field(default=5, ge=1)  # buyers of fewer events are told by their history alone
    own_dropout: float = Field(default=0.3, ge=0, lt=1)  # how often others are, while training: as strangers will be
    side_features: bool = False  # items are also what their features say, where there are any
    pretraining_epochs: int = Field(default=0, ge=0)  # first ones, that teach the factors without the layers
    learning_rate: float = Field(default=0.001, gt=0)
    epochs: int = Field(default=100, ge=1)  # at most
    batch_size: int = Field(default=1024, ge=1)  # positives a step; their negatives come on top
    negatives: int = Field(default=8, ge=1)  # for each positive, that go through the layers
    negative_pool: int = Field(default=512, ge=1)  # items of a step out of which the factors choose them
    negative_power: float = Field(default=0.75, ge=0, le=1)  # how much more often popular items are in the pool
    half_life_share: float | None = Field(default=1 / 6, gt=0)  # of the log's span: the age that teaches half as much
    averaged_epochs: int = Field(default=3, ge=1)  # newest ones whose mean weights are validated and kept
    patience: int = Field(default=2, ge=1)  # epochs without a clearly better validation before training stops
    min_gain: float = Field(default=0.01, ge=0)  # of the validation, relative, that is clearly better
    validation_split: float = Field(default=0.2, gt=0, lt=1)  # share of buyers whose latest orders validate
    validation_users: int = Field(default=1000, ge=1)  # at most so many of them
    weight_decay: float = Field(default=0.0, ge=0)  # decoupled (AdamW)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    threads: int = Field(default=1, ge=1)  # more gain little: much of a step is loops of one thread
    # A limit for slow machines. Where it strikes, the best epoch so far is kept, and another run may keep another one.
    max_minutes: float = Field(default=4.5, gt=0)
    fixed_epochs: int | None = Field(default=None, ge=1)  # a refit: so many epochs on everything, no validation
