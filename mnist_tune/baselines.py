"""Published accuracies on the 10,000 test images of MNIST, each with its source and its limits.

What a comparison with any of them cannot know: the networks' predictions are not available, so
nothing can be paired; most numbers are of one training, chosen in a way that is not described.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Literal

from mnist_tune.errors import DefinitionError

NetworkClass = Literal[
    "dense", "dense + regularisers", "convolutional", "convolutional + distortions", "unknown"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A published number.

    Attributes:
        key: what `--baseline` and study files call it.
        authors: short, such as `Hinton`.
        name: what was trained.
        accuracy: on the test set, above 0 and below 1.
        test_size: number of test images.
        runs: training runs whose mean it is; 1 where their number is unknown, which errs on the
            careful side.
        network_class: networks of other classes are no fair match.
        source: where the number was published.
        year: of the publication, if known.
        caveats: what a reader of the comparison must know.
    """

    key: str
    authors: str
    name: str
    accuracy: float
    test_size: int = 10_000
    runs: int = 1
    network_class: NetworkClass
    source: str
    year: int | None
    caveats: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "caveats", tuple(self.caveats))  # a list, from the table
        if not 0 < self.accuracy < 1 or self.test_size < 1 or self.runs < 1:
            raise DefinitionError(
                f"baseline {self.key!r}: accuracy {self.accuracy!r} on {self.test_size!r} images, "
                f"mean of {self.runs!r} runs: give a share between 0 and 1, and at least one of both"
            )

    @property
    def cited(self) -> str:
        """Whose number it is and the number, such as `Hinton's 98.47 %`."""
        owner = f"{self.authors}'" if self.authors.endswith("s") else f"{self.authors}'s"
        return f"{owner} {100 * self.accuracy:.2f} %"


MOST_CHARACTERS = 64  # of a key, as the storage keeps it
_OWN = re.compile(r"(?P<name>[^=/]+)=(?P<percent>\d+(\.\d+)?) ?%?(/(?P<size>\d+))?")


def _read() -> Mapping[str, Baseline]:
    entries = tomllib.loads(files(__package__).joinpath("baselines.toml").read_text("utf-8"))
    return MappingProxyType({key: Baseline(key=key, **entry) for key, entry in entries.items()})


BASELINES = _read()


def find_baseline(key: str) -> Baseline:
    """Return the baseline of that key, or make one of `NAME=PERCENT` or `NAME=PERCENT/IMAGES`.

    Raises:
        DefinitionError: there is none; the message lists those there are.
    """
    if key in BASELINES:
        return BASELINES[key]
    own = _OWN.fullmatch(key.strip())
    if own is None:
        hint = "or your own as 'NAME=98.60' (accuracy in %) or 'NAME=98.60/10000' (test images)"
        raise DefinitionError(f"no baseline {key!r}: give one of {', '.join(BASELINES)}, {hint}")
    name, percent, size = own["name"].strip(), float(own["percent"]), int(own["size"] or 10_000)
    if len(key) > MOST_CHARACTERS:
        raise DefinitionError(
            f"baseline {key!r} is too long: use at most {MOST_CHARACTERS} characters"
        )
    if not 0 < percent < 100 or size < 1:
        raise DefinitionError(
            f"baseline {key!r}: give an accuracy between 0 and 100 %, and at least one image"
        )
    if percent <= 1:
        raise DefinitionError(
            f"baseline {key!r} says {own['percent']} %: give the accuracy in percent, such as "
            f"'{name}={100 * percent:g}'"
        )
    return Baseline(
        key=key,
        authors=name,
        name="given on the command line",
        accuracy=round(percent / 100, 10),
        test_size=size,
        network_class="unknown",
        source="given on the command line",
        year=None,
        caveats=("its source and number of seeds are not known here",),
    )
