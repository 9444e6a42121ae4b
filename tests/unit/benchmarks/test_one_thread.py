"""What is timed on one thread keeps to one."""

from __future__ import annotations

import os

import cv2
import pytest
import torch
from scipy import linalg
from threadpoolctl import threadpool_info

from benchmarks.one_thread import one_thread


def _threads() -> dict[str, int]:
    """Threads of OpenCV, of torch, and of each copy of BLAS."""
    # SciPy loads its own.
    assert linalg.solveh_banded is not None
    blas = {found["filepath"]: found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"}
    return {"cv2": cv2.getNumThreads(), "torch": torch.get_num_threads()} | blas


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="with one core there is one thread anyway")
def test_all_libraries_keep_to_one_thread_and_are_then_as_before() -> None:
    """OpenCV, torch and every copy of BLAS have one thread within, and as many as before afterwards."""
    before = _threads()
    with one_thread():
        within = _threads()
    assert set(within.values()) == {1}
    assert _threads() == before
