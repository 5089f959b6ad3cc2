"""Keys of the configuration file that have other names now, for the error message of a file with old keys."""

from recommenders.models.all_models import MODELS

RENAMED_KEYS = {  # old -> new
    "models.linear_items": "models.ease",
    "models.implicit_factors": "models.ials",
    "models.sequential": "models.sasrec",
    "models.reorder": "models.repurchase",
    "evaluation.n_bootstrap": "evaluation.n_resamples",
    **{
        f"models.{model}.{old}": f"fit.{new}"
        for model in MODELS
        for old, new in (
            ("threads", "threads"),
            ("n_threads", "threads"),
            ("max_memory_mb", "max_memory_mb"),
            ("max_minutes", "max_minutes"),
        )
    },
    **{
        f"models.{model}.{old}": f"models.{model}.{new}"
        for model, keys in {
            "content_based": {"max_neighbours": "n_neighbours", "own_share": "repeat_share"},
            "collaborative_filtering": {"own_share": "repeat_share"},
            "repurchase": {"windows": "n_windows"},
            "ease": {"half_lives": "n_half_lives"},
            "ials": {"half_lives": "n_half_lives"},
            "sasrec": {
                "windows": "fit_on_windows",
                "length": "history_length",
                "negatives": "n_negatives",
                "warm_up": "warmup_steps",
                "blocks": "n_blocks",
                "heads": "n_heads",
            },
            "neural_collaborative": {
                "half_lives": "pooling_half_lives",
                "own_vector_events": "min_user_events",
                "own_dropout": "user_embedding_dropout",
                "negatives": "n_negatives",
            },
            "hybrid_learned": {
                "members": "base_models",
                "stranger_share": "cold_start_share",
                "trees": "n_estimators",
                "depth": "max_depth",
            },
        }.items()
        for old, new in keys.items()
    },
}
