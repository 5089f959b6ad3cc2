"""Configuration of SASRec."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from recommenders.models.networks.config import NetworkConfig
from recommenders.models.search_space import Choice, Range, SearchSpace

NAME = "sasrec"


class SASRecConfig(NetworkConfig):
    """On which logs SASRec is trained, and the shape and training of its network."""

    fit_on_windows: bool = Field(
        default=False,  # other models are better there
        description="Whether the model is also trained on a log whose target is a window after a cut. "
        "`hybrid_learned` uses it there only with `n_windows: 1`.",
    )
    embedding_dim: int = Field(
        default=64, ge=1, description="Length of the user and item embeddings, a multiple of `n_heads`."
    )
    n_blocks: int = Field(default=2, ge=1, description="Number of self-attention blocks.")
    n_heads: int = Field(
        default=1, ge=1, description="Number of attention heads of each block, a divisor of `embedding_dim`."
    )
    history_length: int = Field(
        default=200,
        ge=1,
        description="Number of newest tokens of a history that are used. A token is one event or, if the target is a "
        "window, one visit.",
    )
    dropout: float = Field(default=0.3, ge=0, lt=1, description="Dropout rate in training.")
    learning_rate: float = Field(default=0.004, gt=0, description="Learning rate after the warm-up.")
    warmup_steps: int = Field(
        default=100, ge=1, description="Number of steps in which the learning rate rises to its full value."
    )
    weight_decay: float = Field(
        default=0.0,
        ge=0,
        description="Decoupled weight decay (AdamW) of all parameters except the item embeddings.",
    )
    averaged_epochs: int = Field(
        default=5, ge=1, description="Number of newest epochs whose mean weights are validated and kept."
    )
    patience: int = Field(
        default=20,  # the validation curve of a few hundred users is noisy and can stay flat before it rises again
        ge=1,
        description="Number of epochs without a better validation after which training stops.",
    )
    batch_tokens: int = Field(
        default=1024,  # a small step costs as much per token as a large one, and more of them fit into a minute
        ge=1,
        description="Number of tokens of a training step.",
    )
    full_softmax_items: int = Field(
        default=4000,
        ge=0,
        description="Maximum number of items for a softmax over all items. A larger catalogue is trained on samples.",
    )
    n_negatives: int = Field(
        default=1024,
        ge=1,
        description="Number of items drawn for a step, in addition to the step's own items. Used only for a catalogue "
        "of more than `full_softmax_items` items.",
    )

    search_space: ClassVar[SearchSpace] = {
        "embedding_dim": Choice(choices=(32, 64, 128)),
        "n_blocks": Range(low=1, high=3),
        "history_length": Range(low=50, high=400, log=True),
        "dropout": Range(low=0.1, high=0.6),
        "learning_rate": Range(low=0.001, high=0.01, log=True),
    }

    @model_validator(mode="after")
    def _heads_divide_embedding_dim(self) -> Self:
        if self.embedding_dim % self.n_heads:
            raise ValueError(
                f"n_heads: got {self.n_heads} for embedding_dim {self.embedding_dim}; choose a divisor of embedding_dim"
            )
        return self
