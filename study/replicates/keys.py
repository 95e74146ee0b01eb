"""Names of replicates within their study."""

import json
from collections.abc import Mapping

from study.replicates.replicate import Replicate, Value

_as_text = json.JSONEncoder(sort_keys=True).encode  # `json.dumps` makes an encoder for each of 10,000 names


def key(parameters: Mapping[str, Value], seed: int) -> str:
    """A replicate's name within its study."""
    return _as_text({**parameters, "seed": seed})


def replicate_key(replicate: Replicate) -> str:
    """A replicate's name, in which a baseline is told from a cell."""
    kind = "baseline" if replicate.is_baseline else "cell"
    return f"{kind} {key(replicate.parameters, replicate.seed)}"
