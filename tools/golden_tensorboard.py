#!/usr/bin/env python3
"""Makes and checks TensorBoard event files with the `tensorboard` package (2.21.0); mm1 itself never needs it.

    golden_tensorboard.py make tests/data/train   writes tensorboard.golden: two event files, one after the other, as
                                                  tensorboard's own messages and record writer make them
    golden_tensorboard.py check DIR               DIR, left by tests/train/test_tensorboard.c in <build>/tensorboard,
                                                  loads as one run that was resumed at step 2
"""
import io
import pathlib
import sys

from tensorboard.backend.event_processing import event_accumulator
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

TIME = 1700000000.25
FIRST = [("train/loss", 0, 2.5), ("train/loss", 1, float("nan")), ("train/loss", 2, 9.0), ("lr", 300, -1e-4)]
SECOND = [("train/loss", 2, 1.5), ("train/\u00e4", 1 << 40, float("inf"))]


def events(points, time, first_step):
    yield event_pb2.Event(wall_time=time, file_version="brain.Event:2")
    if first_step > 0:
        log = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        yield event_pb2.Event(wall_time=time, step=first_step, session_log=log)
    for i, (tag, step, value) in enumerate(points):
        summary = summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, simple_value=value)])
        yield event_pb2.Event(wall_time=time + 1 + i, step=step, summary=summary)


def make(folder):
    raw = io.BytesIO()
    writer = RecordWriter(raw)
    for points, time, first_step in ((FIRST, TIME, 0), (SECOND, TIME + 10, 2)):
        for event in events(points, time, first_step):
            writer.write(event.SerializeToString())
    path = pathlib.Path(folder) / "tensorboard.golden"
    path.write_bytes(raw.getvalue())
    print(path, len(raw.getvalue()), "bytes")


def check(folder):
    run = event_accumulator.EventAccumulator(folder)
    run.Reload()
    got = {tag: [(e.step, e.value, e.wall_time) for e in run.Scalars(tag)] for tag in run.Tags()["scalars"]}
    loss = got["train/loss"]
    assert [s for s, _, _ in loss] == [0, 1, 2], loss  # step 2 of the first file was purged
    assert loss[0][1] == 2.5 and loss[1][1] != loss[1][1] and loss[2][1] == 1.5, loss
    assert loss[0][2] == TIME + 1 and loss[2][2] == TIME + 11, loss
    assert "lr" not in got or got["lr"] == [], got
    assert got["train/\u00e4"] == [(1 << 40, float("inf"), TIME + 12)], got
    print(folder, "loads:", got)


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[1]](sys.argv[2])
