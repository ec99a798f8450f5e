"""Seeds made from the configuration's seed and a name, so that nothing draws from a generator of the whole process."""

from __future__ import annotations

import hashlib


def seed_of(seed: int, *names: str | int) -> int:
    """Returns the seed of what has this name, in [0, 2^31): another one for each name, the same in every process.

    Args:
        seed: the configuration's, or that of what the name lies in: seeds nest as names do.
        names: of a layer, a weight, a trial; several are a path.
    """
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little") >> 1
