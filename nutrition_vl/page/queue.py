"""Collects photos of many visitors into batches for one detector; single photos come first."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from threading import Condition, Thread

from nutrition_vl.detector import Detector
from nutrition_vl.looks.sources import Photo

IN_A_ROW = 4  # batches of single photos before one of a long job, which would starve otherwise


@dataclass(order=True)
class Request:
    """A photo that waits for its answer; requests sort by urgency, then by arrival."""

    background: bool
    number: int
    photo: Photo = field(compare=False)
    adapter: str = field(compare=False)
    answer: Future = field(compare=False, default_factory=Future)


class DetectionQueue:
    """Answers photos in batches of one adapter, in a thread of its own.

    Cancel a future that has not started and no model gets its photo. Long jobs submit with
    `background`, so that a single photo waits for at most one batch.
    """

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        # On a CPU larger batches gain 20 % and make others wait; a GPU is filled by 16.
        self.batch_size = 16 if detector.model.device.type == "cuda" else 2
        self._waiting: list[Request] = []
        self._changed, self._numbers = Condition(), count()
        self._urgent_batches, self._open = 0, True
        Thread(target=self._work, daemon=True, name="detection").start()

    def submit(self, photo: Photo, adapter: str, background: bool = False) -> Future:
        """The future answer, at threshold 0; its exception is the photo's ValueError or OSError."""
        request = Request(background, next(self._numbers), photo, adapter)
        with self._changed:
            self._waiting.append(request)
            self._changed.notify()
        return request.answer

    def close(self) -> None:
        """Ends the thread after its batch; what still waits is cancelled."""
        with self._changed:
            self._open = False
            self._changed.notify()

    def _work(self) -> None:
        while batch := self._next_batch():
            running = [
                request for request in batch if request.answer.set_running_or_notify_cancel()
            ]
            if running:
                self._detect(running)

    def _next_batch(self) -> list[Request]:
        """The most urgent requests that share an adapter; empty once the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._open)
            if not self._open:
                for request in self._waiting:
                    request.answer.cancel()
                return []
            first = self._first()
            alike = [
                request
                for request in sorted(self._waiting)
                if (request.adapter, request.background) == (first.adapter, first.background)
            ][: self.batch_size]
            self._waiting = [request for request in self._waiting if request not in alike]
            return alike

    def _first(self) -> Request:
        """The oldest urgent request, or a background one after IN_A_ROW urgent batches."""
        background = [request for request in self._waiting if request.background]
        starving = background and self._urgent_batches >= IN_A_ROW
        first = min(background if starving else self._waiting)
        self._urgent_batches = 0 if first.background else self._urgent_batches + 1
        return first

    def _detect(self, batch: Sequence[Request]) -> None:
        photos, adapter = [request.photo for request in batch], batch[0].adapter
        try:
            detections = list(self.detector.stream(photos, batch_size=len(batch), adapter=adapter))
        except Exception as error:  # the batch's, not the queue's: its thread answers the next one
            expected = isinstance(error, ValueError | OSError | RuntimeError)
            text = f"the model failed with {type(error).__name__}: {error}"
            for request in batch:
                request.answer.set_exception(error if expected else RuntimeError(text))
            return
        for request, detection in zip(batch, detections, strict=True):
            if detection.error:
                request.answer.set_exception(detection.error)
            else:
                request.answer.set_result(detection.unwrap())
