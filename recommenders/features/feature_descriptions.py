"""The descriptions of the features: what each one means, its unit, and when it is missing.

It describes what models read. docs/features.md and the pages of the assets show it;
`python -m recommenders.features.feature_descriptions` prints that part of the page.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Feature:
    """One column of features. `missing`: its value if there is nothing to compute, and when; "" if there always is."""

    name: str
    meaning: str
    unit: str
    missing: str = ""

    def describe(self) -> str:
        """The description in one line, for the metadata of a column."""
        return f"{self.meaning}. Unit: {self.unit}." + (f" {self.missing}." if self.missing else "")


UNTIMED = "a cold-start user, or a log without dates"
NOT_HAD = "the user did not have the item"
NO_GAP = f"-1: {NOT_HAD}, or in one order only; {UNTIMED}"

ITEMS = (
    Feature("item_sales_half_horizon", "ln(1 + events of the last half horizon / the mean item's)", "log ratio"),
    Feature("item_sales_horizon", "ln(1 + events of the last horizon / the mean item's)", "log ratio"),
    Feature("item_sales_two_horizons", "ln(1 + events of the last two horizons / the mean item's)", "log ratio"),
    Feature("item_sales", "ln(1 + events of the log / the mean item's)", "log ratio"),
    Feature("item_trend", "item_sales_half_horizon - item_sales_two_horizons", "log ratio"),
    Feature("item_users", "ln(1 + distinct users / the mean item's)", "log ratio"),
    Feature("item_events_per_user", "events per distinct user", "events", "0: no event"),
    Feature("item_days_since_sold", "time since its last event, at most 6 horizons", "days", "6 horizons: no event"),
    Feature("item_days_since_first_sold", "time since its first event, at most 6 horizons", "days", "0: no event"),
)
USERS = (
    Feature("user_known", "1 for a user of the training log, 0 for a cold-start user", "yes or no"),
    Feature("user_orders", "ln(1 + orders)", "log count"),
    Feature("user_items", "ln(1 + distinct items)", "log count"),
    Feature("user_items_per_order", "ln(1 + distinct items / orders)", "log ratio"),
    Feature("user_repeat_share", "share of its events with an item that it had before", "share"),
    Feature("user_days_since_order", "time since its last order", "days", f"-1: {UNTIMED}"),
    Feature("user_days_between_orders", "mean time between its orders", "days", f"-1: {UNTIMED}, or one order only"),
)
PAIRS = (
    Feature("pair_orders", "ln(1 + orders of the user with the item)", "log count"),
    Feature("pair_order_share", "share of the user's orders that have the item", "share"),
    Feature(
        "pair_recent_short",
        "orders with the item, each weighted by 1/2 per half horizon of age",
        "orders",
        f"0: {NOT_HAD}; {UNTIMED}",
    ),
    Feature(
        "pair_recent_long",
        "orders with the item, each weighted by 1/2 per two horizons of age",
        "orders",
        f"0: {NOT_HAD}; {UNTIMED}",
    ),
    Feature("pair_days_since", "time since the user's last order with the item", "days", f"-1: {NOT_HAD}; {UNTIMED}"),
    Feature("pair_orders_since", "orders of the user after the last one with the item", "orders", f"-1: {NOT_HAD}"),
    Feature(
        "pair_interval",
        "mean time between the user's orders with the item",
        "days",
        NO_GAP,
    ),
    Feature(
        "pair_due",
        "pair_days_since / pair_interval (at least a day)",
        "ratio",
        NO_GAP,
    ),
    Feature(
        "pair_due_as_item",
        "pair_days_since / mean time between two orders of the item by one user",
        "ratio",
        f"-1: {NOT_HAD}; {UNTIMED}",
    ),
    Feature("pair_category_share", "share of the user's events that are in the item's category", "share"),
)
REPURCHASE = (
    Feature("purchases", "ln(visits with the item; its events, if the user has one visit only)", "log count"),
    Feature("amount_each", "ln(mean weight of such a visit)", "log weight"),
    Feature("recent_amount", "ln(1 + weights of the pair, halved per half-life of age)", "log weight"),
    Feature("share", "ln(share of the user's visits that have the item)", "log share"),
    Feature("days", "ln(1 + days since the last such visit)", "log days", "0: a log without dates"),
    Feature("visits", "ln(1 + later visits of the user)", "log count"),
    Feature("due", "ln((1 + days since the last one) / (1 + mean days between two))", "log ratio"),
    Feature("due_squared", "due squared: a peak, neither too early nor too late", "squared log ratio"),
    Feature("visits_due", "as due, in visits of the user", "log ratio"),
    Feature("visits_due_squared", "visits_due squared", "squared log ratio"),
    Feature("reordered", "ln(share of the item's users who had it again)", "log share"),
    Feature(
        "regularity",
        "ln(1 + mean days between two visits with the item; the mean of all users is one gap more)",
        "log days",
    ),
    Feature("demand", "ln(1 + weights of all users for the item, halved per half-life of age)", "log weight"),
    Feature("trend", "ln(share of all weights of the item that is left after halving)", "log share"),
)

UNKNOWN = "null: unknown"
ITEM_ATTRIBUTES = (
    Feature("title", "title of the item", "text", UNKNOWN),
    Feature("category", "category of the item, which the ranker reads for pair_category_share only", "name", UNKNOWN),
    Feature("brand", "brand of the item", "name", UNKNOWN),
    Feature("price", "list price of the item", "source currency", UNKNOWN),
)
USER_ATTRIBUTES = (
    Feature("segment", "kind of business of the user", "name", UNKNOWN),
    Feature("industry", "industry of the user", "name", UNKNOWN),
    Feature("region", "region of the user", "name", UNKNOWN),
)

FEATURES = {
    "Items, read by `hybrid_learned`": ITEMS,
    "Users, read by `hybrid_learned`": USERS,
    "Pairs of user and item, read by `hybrid_learned`": PAIRS,
    "Pairs of user and item, read by `repurchase`": REPURCHASE,
    "Attributes in the tables, for people": (*ITEM_ATTRIBUTES, *USER_ATTRIBUTES),
}


def page_tables() -> str:
    """The descriptions as Markdown, one table per kind. A test compares it with docs/features.md."""
    return "\n".join(_page_table(kind, features) for kind, features in FEATURES.items())


def _page_table(kind: str, features: tuple[Feature, ...]) -> str:
    head = [f"### {kind}", "", "| feature | meaning | unit | missing |", "|---|---|---|---|"]
    rows = [f"| `{f.name}` | {f.meaning} | {f.unit} | {f.missing} |" for f in features]
    return "\n".join([*head, *rows, ""])


if __name__ == "__main__":
    print(page_tables(), end="")
