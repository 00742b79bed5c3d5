"""A live session's folder: the bundle that is taught, and the pictures that taught it.

``SESSION/bundle`` is a bundle that knew no class, with ``taught.npz``. ``SESSION/pictures`` holds
what was taught (see ``edge.live.pictures``), ``SESSION/bundles`` what was built of it. A second
start goes on where the first one ended. ``taught.npz`` is written first and the pictures follow:
where a kill or a power cut came in between, the next start lets them follow.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.cache import StageCache
from edge.errors import BundleError, OutputError
from edge.live.again import teach_again
from edge.live.blank import COMMAND, blank_bundle, copy_bundle
from edge.live.export import GROUPS_NAME
from edge.live.pictures import Mended, Pictures
from edge.pipeline.output import check_output, staged
from edge.progress import Progress
from edge.runtime.bundle import Bundle, is_bundle
from edge.runtime.files import abandoned, readable
from edge.runtime.output import TAUGHT_NAME
from edge.runtime.place import check_folder
from edge.runtime.teach.taught import Taught, read_taught
from edge.staging import locked, remove
from edge.wording import counted

DEFAULT: Final = "edge-live"
BUNDLE: Final = "bundle"
PICTURES: Final = "pictures"
REMOVED: Final = "removed"
BUNDLES: Final = "bundles"
_OURS: Final = frozenset({BUNDLE, PICTURES, f"{PICTURES}.jsonl", REMOVED, BUNDLES, GROUPS_NAME})


class SessionKeeper:
    """Keeps the pictures of a session, as ``edge.runtime.live.hooks.Keeper``.

    Args:
        pictures: The folder of pictures.
        examples: The class of every picture that the bundle was taught before, by its sha256.
    """

    def __init__(self, pictures: Pictures, examples: dict[str, str]) -> None:
        self._pictures = pictures
        self._examples = dict(examples)

    def taught(self, label: str, image: str, jpeg: bytes, burst: str) -> None:
        """See ``Keeper``."""
        self._pictures.add(label, image, jpeg, burst)
        self._examples[image] = label

    def changed(self, examples: dict[str, str]) -> None:
        """See ``Keeper``."""
        self._pictures.change(self._examples, examples)
        self._examples = dict(examples)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSession:
    """A session that is open, and nobody else's.

    Attributes:
        folder: Its folder.
        pictures: The pictures that were kept.
        keeper: What keeps more of them; None where none are to be kept.
        resumed: Whether an earlier start made it.
        taught: The number of pictures that its bundle was taught before.
    """

    folder: Path
    pictures: Pictures
    keeper: SessionKeeper | None
    resumed: bool
    taught: int

    @property
    def bundle(self) -> Path:
        """The bundle that is taught."""
        return self.folder / BUNDLE

    @property
    def bundles(self) -> Path:
        """Where bundles are built."""
        return self.folder / BUNDLES


@contextmanager
def open_session(
    folder: Path, cache: StageCache, progress: Progress, *, keeps: bool = True
) -> Iterator[LiveSession]:
    """Begin a session, or go on with the one that lies there.

    Pictures that were forgotten or removed can come back as long as the context lasts; then they
    are deleted.

    Args:
        folder: The folder of the session; it is made where it is missing.
        cache: Where the bundle without classes is found.
        progress: Is told where that has to be made, and of what a user should know.
        keeps: Whether pictures are kept.

    Raises:
        OutputError: Something else lies there, it cannot be written, or another ``edge live``
            has it open.
        BundleError: The bundle that lies there cannot be used.
        DataError: Pictures are to be taught anew, and one cannot be read.
    """
    _check(folder)
    with ExitStack() as stack:
        folder.mkdir(exist_ok=True)
        stack.enter_context(_alone(folder))
        for left in abandoned(folder):  # of a start that was killed
            if left.is_dir():
                remove(left)
            else:
                left.unlink(missing_ok=True)
        resumed = is_bundle(folder / BUNDLE)
        pictures = Pictures(folder / PICTURES, folder / REMOVED)
        if not resumed:
            pictures.begin()  # where this is cut short, the next start teaches them
            _begin(folder, cache, progress)
        bundle = Bundle.open(folder / BUNDLE)
        examples = _mended(bundle, pictures, progress, new=not resumed, keeps=keeps)
        if keeps:
            pictures.begin()
        stack.callback(_end, bundle, pictures, {} if keeps else examples)
        yield LiveSession(
            folder=folder,
            pictures=pictures,
            keeper=SessionKeeper(pictures, examples) if keeps else None,
            resumed=resumed,
            taught=len(examples),
        )


def _check(folder: Path) -> None:
    """Refuse a folder that is none of ours, before anything is written.

    Raises:
        OutputError: It holds something else, or cannot be written.
    """
    check_folder(folder, (), overwrite=True)
    if not folder.is_dir():
        return
    if is_bundle(folder):
        raise OutputError(
            f"--output {readable(folder)} is a bundle, not the folder of a session",
            hint=f"Watch with it: edge live {readable(folder)}; or name another folder.",
        )
    if is_bundle(folder / BUNDLE):
        if Bundle.read(folder / BUNDLE).manifest.provenance.get("command") != COMMAND:
            raise OutputError(
                f"--output {readable(folder)} holds a bundle that edge live did not make",
                hint=f"Watch with it: edge live {readable(folder / BUNDLE)}; or name a new folder.",
            )
        return
    others = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    foreign = [name for name in others if name not in _OURS]
    if foreign:
        raise OutputError(
            f"--output {readable(folder)} holds {foreign[0]} and is no folder of a session",
            hint="Name a new folder, or that of an earlier edge live.",
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder, wait=False))
        except BlockingIOError as error:
            raise OutputError(
                f"another edge live has {readable(folder)} open",
                hint="End that one, or name another folder with --output.",
            ) from error
        yield


def _begin(folder: Path, cache: StageCache, progress: Progress) -> None:
    """Put a bundle without classes into the session."""
    check_output(folder / BUNDLE, overwrite=False)
    entry = blank_bundle(cache, folder.resolve().name, progress)
    with staged(folder / BUNDLE) as new:
        copy_bundle(entry, new)


def _mended(
    bundle: Bundle, pictures: Pictures, progress: Progress, *, new: bool, keeps: bool
) -> dict[str, str]:
    """Make bundle and pictures agree; return the class of every picture, by its sha256 (hex).

    Raises:
        BundleError, DataError, OutputError: As of ``open_session``.
    """
    taught = _taught(bundle, pictures)
    if taught is None and pictures.known and (new or pictures.was_open):
        taught = _anew(bundle, pictures, progress)
    examples = None if taught is None else taught.by_image
    mended = pictures.mend(examples, None if taught is None else taught.bursts)
    pictures.empty_removed()  # what a killed run left, and nothing that is taught
    if words := _words(bundle.path.parent, mended, keeps=keeps):
        progress.note(words)
    return examples or {}


def _taught(bundle: Bundle, pictures: Pictures) -> Taught | None:
    """Return what the bundle was taught; None for no picture.

    Raises:
        BundleError: The file cannot be read; the hint says what comes back without it.
    """
    try:
        taught = read_taught(bundle)
    except BundleError as error:
        pictures.begin()  # so that the next start knows that the file was lost, not forgotten
        count = sum(map(len, pictures.known.values()))
        then = "the bundle knows nothing then, for no picture of what it was taught was kept"
        if count:
            were = "picture is" if count == 1 else "pictures are"
            then = f"the {count} {were} taught anew then, from {readable(pictures.folder)}"
        raise BundleError(
            error.message,
            hint=f"Delete {readable(bundle.path / TAUGHT_NAME)} and start again: {then}.",
        ) from error
    if taught is None or not taught.examples:
        return None
    return taught


def _anew(bundle: Bundle, pictures: Pictures, progress: Progress) -> Taught:
    """Teach the bundle the pictures that lie there, which it had been taught."""
    taught = teach_again(bundle, pictures.known, progress)
    count = len(taught.examples)
    progress.note(
        f"{readable(bundle.path)} had lost what it was taught; {counted(count, 'picture')} of "
        f"{readable(pictures.folder)} {_was(count)} taught anew"
    )
    return taught


def _end(bundle: Bundle, pictures: Pictures, unfollowed: dict[str, str]) -> None:
    """Delete what was taken out, once the pictures agree with what is taught.

    Where they cannot be made to, that is left to the next start.

    Args:
        bundle: The bundle that was taught.
        pictures: What was kept.
        unfollowed: What was taught at the start, where no keeper heard of what was forgotten.
    """
    with suppress(BundleError, OutputError):
        taught = read_taught(bundle)
        now = taught.by_image if taught else None
        gone = {image: unfollowed[image] for image in unfollowed.keys() - (now or {}).keys()}
        pictures.change(gone, {})
        pictures.mend(now, taught.bursts if taught else None)
        pictures.empty_removed()


def _words(folder: Path, mended: Mended, *, keeps: bool) -> str:
    """Return what a user should know of what was mended, a sentence; empty for nothing."""
    place, parts = readable(folder / PICTURES), []
    if count := mended.taken_out:
        verb = "is" if count == 1 else "are"
        parts.append(
            f"{counted(count, 'picture')} that {verb} no longer taught {_was(count)} taken out of "
            f"{place}"
        )
    if count := mended.moved:
        parts.append(f"{counted(count, 'picture')} went to the folder of the class in {place}")
    if count := mended.brought_back:
        parts.append(f"{counted(count, 'taught picture')} {_was(count)} put back into {place}")
    if keeps and (count := mended.missing):
        has, be = ("has", "is") if count == 1 else ("have", "are")
        parts.append(
            f"{counted(count, 'taught picture')} {has} no file in {place} and {be} not part of an "
            "export"
        )
    if count := mended.untaught:
        be = "is" if count == 1 else "are"
        parts.append(
            f"{counted(count, 'picture')} in {place} {be} kept and not taught, and part of an "
            f"export; to have {'it' if count == 1 else 'them'} taught anew, delete "
            f"{readable(folder / BUNDLE)} and start again"
        )
    return "; ".join(parts)


def _was(count: int) -> str:
    return "was" if count == 1 else "were"
