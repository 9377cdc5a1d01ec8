"""A detector that fails, or returns what are no numbers, ends the work in one line."""

from collections.abc import Callable

import numpy as np
import pytest

from augsynth.core.errors import BackendError, ConfigError
from augsynth.core.scene import Detections, Image
from augsynth.detectors.port import detect_all

PICTURES = [np.zeros((8, 8, 3), np.uint8)] * 2


class Given:
    name, view_px = "given", 8

    def __init__(self, answer: Callable[[], Detections]) -> None:
        self.answer = answer

    def detect(self, images: list[Image]) -> list[Detections]:
        return [self.answer() for _ in images]


def found(score: float = 0.5, x: float = 1.0) -> Detections:
    return Detections(np.array([[x, 1.0, 3.0, 4.0]]), np.array([score]), np.array([1]))


def failing(error: Exception) -> Callable[[], Detections]:
    def fail() -> Detections:
        raise error

    return fail


def test_what_is_found_is_passed_on() -> None:
    assert [len(each) for each in detect_all(Given(found), PICTURES)] == [1, 1]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (failing(RuntimeError("shape mismatch\nat layer 3")), r"^given: failed on an image \(shape mismatch"),
        (failing(KeyError()), r"^given: failed on an image \(KeyError"),
        (lambda: found(score=float("nan")), "^given: returned scores or boxes that are no numbers"),
        (lambda: found(x=float("inf")), "^given: returned scores or boxes that are no numbers"),
    ],
)
def test_what_fails_is_said_in_a_line(answer: Callable[[], Detections], words: str) -> None:
    with pytest.raises(BackendError, match=words) as raised:
        detect_all(Given(answer), PICTURES)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


def test_an_error_with_a_remedy_stays_as_it_is() -> None:
    with pytest.raises(ConfigError, match=r"^asked$"):
        detect_all(Given(failing(ConfigError("asked"))), PICTURES)  # type: ignore[arg-type]
