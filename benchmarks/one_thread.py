"""One thread: what is timed on one has to keep to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import torch
from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS (each library's own copy of it), OpenCV and torch keep to one thread; also a decorator.

    The services' pool of threads does the same to BLAS. Left alone, a solved system of a registration wakes BLAS's
    threads, which go on to spin: that takes processor time, and, where the cores have other work, many times the wall
    time.
    """
    of_cv2, of_torch = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1, user_api="blas"):
            yield
    finally:
        cv2.setNumThreads(of_cv2)
        torch.set_num_threads(of_torch)
