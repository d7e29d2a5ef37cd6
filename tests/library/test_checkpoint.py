"""Checkpoints are whole or not there, and one that does not fit is refused by name."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from nflib_min import Flow, Planar, StandardNormal
from nflib_min import checkpoint as files
from nflib_min.training import fit
from tests.library.laws import arrays_of, copied
from tests.library.small import problem, rng, same


@pytest.mark.parametrize("where", ["np.savez", "os.replace", "os.fsync"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, where, error):
    loss, params = problem()
    path = tmp_path / "c.npz"
    fit(loss, params, 20, rng(), checkpoint=path, progress=False)
    old = path.read_bytes()

    def fail(*args, **kwargs):
        raise error

    module, function = where.split(".")
    monkeypatch.setattr(getattr(files, module), function, fail)
    if isinstance(error, OSError):
        with pytest.raises(OSError, match="disk full"):
            fit(loss, params, 40, rng(), checkpoint=path, progress=False)
    else:
        assert fit(loss, params, 40, rng(), checkpoint=path, progress=False).interrupted
    monkeypatch.undo()
    assert path.read_bytes() == old and [p.name for p in tmp_path.iterdir()] == ["c.npz"]
    same(
        fit(loss, params, 40, rng(), progress=False),
        fit(loss, params, 40, rng(), checkpoint=path, progress=False),
    )


def refused(path, message, params=None, generator=None):
    """The file is refused with the message, and neither it nor the parameters have changed."""
    loss, own = problem()
    params = own if params is None else params
    generator = rng() if generator is None else generator
    before, bytes_before = copied(params), path.read_bytes()
    state = str(generator.bit_generator.state)
    with pytest.raises(ValueError, match=message):
        fit(loss, params, 100, generator, checkpoint=path, progress=False)
    assert path.read_bytes() == bytes_before
    assert str(generator.bit_generator.state) == state
    assert all(
        np.array_equal(a, b) for a, b in zip(arrays_of(params), arrays_of(before), strict=True)
    )
    assert len(list(path.parent.iterdir())) == 1


@pytest.fixture
def checkpoint(tmp_path):
    """A good checkpoint of `problem()` after 30 steps."""
    loss, params = problem()
    path = tmp_path / "c.npz"
    fit(loss, params, 30, rng(), checkpoint=path, progress=False)
    return path


WRITTEN = r"^checkpoint c\.npz: expected a file written by fit( for these parameters)?"


def save_npy(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def save_npz(path):
    with path.open("wb") as file:
        np.savez(file, weights=np.zeros(3))


def save_other_header(path):
    with path.open("wb") as file:
        np.savez(file, header=np.array("[1, 2]"), flat=np.zeros(3))


@pytest.mark.parametrize(
    "foreign",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("epoch 3, loss 0.2\n", encoding="utf-8"),
        lambda path: path.write_bytes(pickle.dumps({"x": np.zeros(2)})),
        save_npy,
        save_npz,
        save_other_header,
    ],
)
def test_a_foreign_file_is_refused(tmp_path, foreign):
    path = tmp_path / "c.npz"
    foreign(path)
    refused(path, WRITTEN)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.95, 0.999])
def test_a_truncated_file_is_refused(checkpoint, share):
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: int(share * len(content))])
    refused(checkpoint, WRITTEN)


def test_a_flipped_byte_is_refused_or_does_no_harm(checkpoint):
    """At 300 places all over the file: either it is refused, or what it holds is what was saved."""
    loss, params = problem()
    whole = fit(loss, params, 35, rng(), progress=False)
    content = checkpoint.read_bytes()
    outcomes = {"refused": 0, "harmless": 0}
    for at in np.linspace(0, len(content) - 1, 300).astype(int):
        spoiled = bytearray(content)
        spoiled[at] ^= 0x55
        checkpoint.write_bytes(spoiled)
        try:
            got = fit(loss, params, 35, rng(), checkpoint=checkpoint, progress=False)
        except ValueError as error:
            assert "expected a file written by fit" in str(error)
            assert checkpoint.read_bytes() == spoiled
            outcomes["refused"] += 1
        else:
            same(whole, got)
            outcomes["harmless"] += 1
    assert outcomes["refused"] > 200  # the rest are dates and the like in the zip's directory


def test_other_parameters_are_refused(checkpoint):
    flow = Flow(StandardNormal(2), Planar(2, 3))
    refused(
        checkpoint,
        WRITTEN + r", got one with \[\[\"params\[0\]\['mean'\]\", \[2\]\]",
        flow.init(rng()),
    )


def test_another_dtype_is_refused(checkpoint):
    _, params = problem(dtype=np.float32)
    refused(checkpoint, WRITTEN + r", of dtype float32, got float64", params)


def test_another_bit_generator_is_refused(checkpoint):
    generator = np.random.Generator(np.random.MT19937(0))
    refused(checkpoint, WRITTEN + r" with a MT19937 generator, got PCG64", generator=generator)


def test_a_checkpoint_cannot_run_code(checkpoint):
    """Unpickling can run anything, so that a file with a pickle inside is refused unread."""
    ran = checkpoint.parent / "ran"

    class Trap:
        def __reduce__(self):
            return (Path.touch, (ran,))

    with checkpoint.open("wb") as file:
        np.savez(file, header=np.array([Trap()], dtype=object))
    refused(checkpoint, WRITTEN)
    assert not ran.exists()
