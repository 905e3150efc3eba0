"""Runs of equal pixels: what the kernels over labels loop over instead of pixels."""

from typing import no_type_check

import numpy as np
from numba import njit

CHUNK = 4096
"""Pixels that are cut into runs at a time where rows do not matter: all of it stays in the nearest cache."""

SLACK = 8
"""Places that `take_changes`, and pixels that `fill_run`, may write past the last."""


@njit(cache=True, nogil=True)
@no_type_check
def change_flags(length):
    """Room for `mark_changes` on rows of `length` pixels: a zero byte for each, in whole words of eight."""
    return np.zeros((length + 7) // 8 * 8, np.uint8)


@njit(cache=True, nogil=True)
@no_type_check
def mark_changes(row, flags):
    """Sets the flag of every pixel that differs from the one before it; other flags stay as they are."""
    for x in range(1, row.size):
        flags[x] |= row[x] != row[x - 1]


@njit(cache=True, nogil=True)
@no_type_check
def take_changes(flags, places):
    """Writes the places of the flags in ascending order, clears them, returns how many there were.

    `places` needs room for `SLACK` more.
    """
    words = flags.view(np.uint64)
    count = 0
    for word in range(words.size):
        if words[word] != 0:
            # Written always, counted where flagged: no branch that the processor could guess wrong.
            for x in range(8 * word, 8 * word + 8):
                places[count] = x
                count += flags[x]
            words[word] = 0
    return count


@njit(cache=True, nogil=True)
@no_type_check
def run_room(length):
    """Room for `run_ends` on rows of up to `length` pixels."""
    return change_flags(length), np.zeros(length + SLACK + 1, np.int64)


@njit(cache=True, nogil=True)
@no_type_check
def run_ends(row, room):
    """One past the last pixel of every run of equal pixels; valid until the room is used again."""
    flags, ends = room
    mark_changes(row, flags)
    runs = take_changes(flags, ends)
    ends[runs] = row.size
    return ends[: runs + 1 if row.size else 0]


@njit(cache=True, nogil=True)
@no_type_check
def fill_run(flat, start, end, value):
    """Fills a run, and up to `SLACK` pixels past it: who fills from left to right writes over them.

    Whole blocks are single instructions, and runs are short; unsigned numbers spare a check for each index.
    """
    for block in range(np.uint64(start), np.uint64(end), np.uint64(SLACK)):
        for k in range(np.uint64(SLACK)):
            flat[block + k] = value
