"""The settings that all networks have: their  training and its early stopping."""

from pydantic import Field

from recommenders.models.recommender import ModelConfig


class NetworkConfig(ModelConfig):
    """Training of a network, by recommenders.models.networks.training_loop."""

    learning_rate: float = Field(default=0.001, gt=0, description="Learning rate after the warm-up.")
    warmup_steps: int = Field(
        default=1,
        ge=1,
        description="Number of steps in which the learning rate rises to its full value.",
    )
    weight_decay: float = Field(default=0.0, ge=0, description="Decoupled weight decay (AdamW) of all parameters.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout rate of the layers in training.")
    epochs: int = Field(default=100, ge=1, description="Maximum number of epochs. Early stopping can end training.")
    averaged_epochs: int = Field(
        default=3, ge=1, description="Number of newest epochs whose mean weights are validated and kept."
    )
    patience: int = Field(
        default=2, ge=1, description="Number of epochs without a clearly better validation after which training stops."
    )
    min_gain: float = Field(
        default=0.0, ge=0, description="Relative gain of the validation metric that counts as clearly better."
    )
    validation_users: int = Field(default=1000, ge=1, description="Maximum number of users held out for validation.")
    fixed_epochs: int | None = Field(
        default=None,
        ge=1,
        description="Number of epochs on all data without validation, as the platform sets it for a refit; null: "
        "early stopping.",
    )
