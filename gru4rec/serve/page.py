"""What the page at / asks for besides lists: items to pick, and the curves of the run the model
comes from.
"""

import asyncio
import os

from gru4rec.errors import InputError
from gru4rec.runlog import rows as rows_module

SHOWN = 30  # items a search gives at most


def html():
    """Text of the page."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "page.html"),
              encoding="utf-8") as file:
        return file.read()


def search(model, text):
    """The most popular items whose id contains a text: list of {"item", "events"}."""
    found, text = [], text.lower()
    for index in model.popularity.order.tolist():
        item = model.ids[index]
        if text in str(item).lower():
            found.append({"item": item if isinstance(item, str) else int(item),
                          "events": int(model.vocabulary.support[index])})
            if len(found) == SHOWN:
                break
    return found


def curves(directory):
    """{"loss": [[step, loss]], "recall@20 (test)": [[epoch, value]], ..} of the run in a checkpoint
    directory, if known.
    """
    try:
        rows = rows_module.read(directory)
    except InputError:
        return {}
    found = {"loss": rows_module.curve(rows, "train", "step", "loss")}
    for kind in ("valid", "eval"):
        for name in rows_module.metric_names(rows, kind, "recall"):
            label = "%s (%s)" % (name, "validation" if kind == "valid" else "test")
            found[label] = rows_module.curve(rows, kind, "epoch", name)
    return {name: points for name, points in found.items() if points}


def add(app, state, directory, respond):
    """Paths /, /items and /run.

    Args:
      respond: function (content that JSON holds, or str of HTML) -> response.
    """
    text = html()

    async def index():
        return respond(text)

    async def items(search_for: str = ""):
        """Items to pick: the most popular whose id contains a text."""
        return respond({"items": await asyncio.to_thread(search, state.batcher.model,
                                                         search_for[:256])})

    async def run():
        """Curves of the run the model comes from."""
        return respond({"curves": await asyncio.to_thread(curves, directory)})

    app.get("/", include_in_schema=False)(index)
    app.get("/items")(items)
    app.get("/run")(run)
