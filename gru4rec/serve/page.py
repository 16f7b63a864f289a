"""The page at /, and what it asks for besides lists: items to choose, and curves of the run."""

import asyncio
import os

from gru4rec.errors import InputError
from gru4rec.runlog import rows as rows_module

SHOWN = 30  # most items that a search returns


def html():
    """The page as text."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "page.html"),
              encoding="utf-8") as file:
        return file.read()


def search(model, text):
    """The most popular items whose id contains a text: list of {"item", "events"}."""
    items, text = [], text.lower()
    for index in model.popularity.order.tolist():
        item = model.ids[index]
        if text in str(item).lower():
            if not isinstance(item, str):
                item = int(item)
            items.append({"item": item, "events": int(model.vocabulary.support[index])})
            if len(items) == SHOWN:
                break
    return items


def curves(directory):
    """The curves of the run in a checkpoint directory, as far as its metrics.jsonl has them.

    Returns: {"loss": [[step, loss], ...], "recall@20 (test)": [[epoch, value], ...], ...}.
    """
    try:
        rows = rows_module.read(directory)
    except InputError:
        return {}
    points = {"loss": rows_module.curve(rows, "train", "step", "loss")}
    for kind, label in (("valid", "validation"), ("eval", "test")):
        for name in rows_module.metric_names(rows, kind, "recall"):
            points["%s (%s)" % (name, label)] = rows_module.curve(rows, kind, "epoch", name)
    return {name: values for name, values in points.items() if values}


def add(app, state, directory, respond):
    """Add the paths /, /items and /run.

    Args:
      app: FastAPI application.
      state: app.State.
      directory: the checkpoint directory.
      respond: function (content for JSON, or str of HTML) -> response.
    """
    text = html()

    async def index():
        return respond(text)

    async def items(search_for: str = ""):
        """Items to choose from: the most popular ones whose id contains a text."""
        items = await asyncio.to_thread(search, state.batcher.model, search_for[:256])
        return respond({"items": items})

    async def run():
        """Curves of the run that trained the model."""
        return respond({"curves": await asyncio.to_thread(curves, directory)})

    app.get("/", include_in_schema=False)(index)
    app.get("/items")(items)
    app.get("/run")(run)
