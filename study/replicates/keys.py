"""Names of replicates within their study."""

import json
from collections.abc import Mapping

from study.replicates.replicate import Replicate, Value

as_text = json.JSONEncoder(sort_keys=True).encode  # `json.dumps` would make an encoder for each of 10,000 names


def key(parameters: Mapping[str, Value], seed: int) -> str:
    """Return the name of a replicate within its study."""
    return as_text({**parameters, "seed": seed})


def replicate_key(replicate: Replicate) -> str:
    """Return the name of a replicate, which also says whether it is a baseline or a cell."""
    kind = "baseline" if replicate.is_baseline else "cell"
    return f"{kind} {key(replicate.parameters, replicate.seed)}"
