"""How training is spread: over the devices of this machine, or over several machines."""

import os
from functools import cache as once
from typing import Any

from edge.errors import UsageError
from edge.runtime import checked

TF_CONFIG = "TF_CONFIG"


def is_distributed() -> bool:
    """Whether this process is one of a cluster."""
    return bool(os.environ.get(TF_CONFIG))


@once
def strategy() -> Any:
    """The ``tf.distribute`` strategy that the environment asks for.

    With ``TF_CONFIG`` set, MultiWorkerMirroredStrategy; with more than one GPU (or more than one
    logical CPU device), MirroredStrategy; else TensorFlow's default.

    Raises:
        UsageError: ``TF_CONFIG`` does not describe a cluster with this task in it.
    """
    import tensorflow as tf

    if is_distributed():
        _check_config(os.environ[TF_CONFIG])
        return tf.distribute.MultiWorkerMirroredStrategy()
    for kind in ("GPU", "CPU"):
        devices = tf.config.list_logical_devices(kind)
        if len(devices) > 1:
            return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()


def is_chief() -> bool:
    """Whether this process is the one that writes: the only one, or the first worker."""
    text = os.environ.get(TF_CONFIG)
    if not text:
        return True
    _check_config(text)
    config = checked.parse_json(text, "the value")
    task, cluster = config["task"], config["cluster"]
    return bool(task["type"] == "chief" or ("chief" not in cluster and task["index"] == 0))


def _check_config(text: str) -> None:
    try:
        config = checked.parse_json(text, "the value")
        task, cluster = config["task"], config["cluster"]
        addresses = cluster[task["type"]]
        known = 0 <= task["index"] < len(addresses)
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"TF_CONFIG cannot be read: {error!r}", hint=HINT) from error
    if not known or task["type"] not in {"chief", "worker"}:
        raise UsageError(f"TF_CONFIG names task {task}, the cluster is {cluster}", hint=HINT)


HINT = (
    'For the first of two workers: {"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
    '"task": {"type": "worker", "index": 0}}.'
)
