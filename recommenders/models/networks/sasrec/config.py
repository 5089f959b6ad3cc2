"""What SASRec can be set to."""

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from recommenders.models.recommender import ModelConfig

if TYPE_CHECKING:
    pass


class SASRecConfig(ModelConfig):
    """Where it learns, shape and training of the network."""

    # Whether it is trained, too, where the question is a window after a cut: no hybrid makes use of it there.
    windows: bool = False
    embedding_dim: int = Field(default=64, ge=1)
    blocks: int = Field(default=2, ge=1)
    heads: int = Field(default=1, ge=1)
    length: int = Field(default=200, ge=1)  # newest tokens of a buyer looked at: events or moments (see SASRec)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    learning_rate: float = Field(default=0.004, gt=0)
    warm_up: int = Field(default=100, ge=1)  # steps until the learning rate is reached
    weight_decay: float = Field(default=0.0, ge=0)  # decoupled (AdamW), of all but the items' vectors
    epochs: int = Field(default=100, ge=1)  # at most
    averaged_epochs: int = Field(default=5, ge=1)  # newest ones whose mean weights are validated and kept
    # Epochs without a better validation before training stops. The curve of a few hundred users is uneven, and may
    # stand still for long before it rises again.
    patience: int = Field(default=20, ge=1)
    # Of a step. A small step costs as much a token as a large one, and a minute holds more of them.
    batch_tokens: int = Field(default=1024, ge=1)
    full_softmax_items: int = Field(default=4000, ge=0)  # a larger catalogue is learned from samples of its items
    negatives: int = Field(default=1024, ge=1)  # items drawn for a step of such a catalogue, beside those of the step
    validation_users: int = Field(default=1000, ge=1)  # at most so many, and at most half of them, validate
    threads: int = Field(default=1, ge=1)  # steps this small gain little from more, and lose much on a busy machine
    # A limit for slow machines. Where it strikes, the best epoch so far is kept, and another run may keep another one.
    max_minutes: float = Field(default=5.0, gt=0)
    fixed_epochs: int | None = Field(default=None, ge=1)  # a refit: so many epochs on everything, no validation

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.embedding_dim % self.heads:
            raise ValueError(
                f"heads: got {self.heads} for embedding_dim {self.embedding_dim}; choose a divisor of embedding_dim"
            )
        return self
