"""What a training will do, as plain arithmetic."""

import logging

_log = logging.getLogger("gru4rec.train")


def divided(position, workers, lanes):
    """Position of a run that goes on with so many workers: another number begins the epoch's other
    lanes anew.
    """
    if position.steps and position.workers != workers:
        made = position.workers, lanes, position.steps
        _log.info("epoch %d was begun by %d processes and goes on with %d: what is left of each "
                  "session starts anew, from "
                  "the event that was reached, with an empty state", position.epoch,
                  position.workers, workers)
        position = position._replace(steps=0, loss_sum=0.0, seconds=0.0,
                                     divisions=position.divisions + (made,))
    return position._replace(workers=workers)
