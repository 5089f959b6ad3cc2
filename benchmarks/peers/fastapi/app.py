"""FastAPI around our predictor, as its tutorial shows it: a model in, a dict out. Run by uvicorn.

uvicorn app:app, with BUNDLE in the environment.
"""

import os
from pathlib import Path

from fastapi import FastAPI
from predictor_of import load
from pydantic import BaseModel

predictor = load(Path(os.environ["BUNDLE"]))
app = FastAPI()


class Request(BaseModel):
    """The same fields as in our short form."""

    user_id: int
    history: list[int] = []
    n_recommendations: int = 10


@app.post("/predict")
async def predict(request: Request) -> dict[str, object]:
    """The list of a user."""
    found = predictor.predict(str(request.user_id), [str(item) for item in request.history], request.n_recommendations)
    items = [{"item_id": int(item), "score": score} for item, score in zip(found.item_ids, found.scores, strict=True)]
    return {"user_id": request.user_id, "items": items, "strategy": found.strategy}
