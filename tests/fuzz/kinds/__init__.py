"""The kinds of files that somebody else may have made, and the commands that read them."""

from typing import Final

from tests.fuzz.harness import Kind
from tests.fuzz.kinds import bundles, collections, device, documents, models, pictures

ROOMS: Final = (pictures, models, bundles, documents, collections, device)
KINDS: Final[dict[str, Kind]] = {kind.name: kind for room in ROOMS for kind in room.kinds()}
