"""Writes pictures: PNG and TIFF of any depth by hand, others by Pillow; and imports them."""

import io
import struct
import tarfile
import zipfile
import zlib

import numpy as np
from PIL import Image

from flowkd.data.importers.images import ImagesConfig
from flowkd.data.importers.prepare import prepare
from flowkd.data.reading import load_split
from flowkd.store.store import Store


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(values, bits, colour, *, before=()):
    """A PNG of values (H, W, channels), with more chunks before its pixels."""
    height, width, _ = values.shape
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    lines = values.reshape(height, -1)
    if bits == 16:
        packed = [line.astype(">u2").tobytes() for line in lines]
    else:
        as_bits = (lines[..., None] >> np.arange(bits)[::-1]) & 1
        packed = [np.packbits(line.reshape(-1)).tobytes() for line in as_bits]
    data = zlib.compress(b"".join(b"\0" + line for line in packed))
    body = b"".join(chunk(kind, content) for kind, content in before)
    end = chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + end


def tiff(values, photometric, *, extra=(), kind=1):
    """A TIFF of values (H, W, channels) of any dtype; `kind` as its tag SampleFormat says."""
    height, width, channels = values.shape
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    bits = [8 * values.dtype.itemsize] * channels
    tags = {
        256: [width], 257: [height], 258: bits, 259: [1], 262: [photometric], 273: [8],
        277: [channels], 278: [height], 279: [len(data)], 338: list(extra), 339: [kind] * channels,
    }  # fmt: skip
    tags = {tag: content for tag, content in tags.items() if content}
    place = 8 + len(data) + 6 + 12 * len(tags)
    entries, further = b"", b""
    for tag, content in tags.items():
        packed = struct.pack(f"<{len(content)}H", *content)
        if len(packed) > 4:
            packed, further = struct.pack("<I", place + len(further)), further + packed
        entries += struct.pack("<HHI", tag, 3, len(content)) + packed.ljust(4, b"\0")
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + directory + further


def encoded(image, kind, **options):
    """A Pillow image as a file of a format."""
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def over(rgba, ground):
    """Colours (H, W, 3) of RGBA (H, W, 4) laid over a colour, rounded."""
    alpha = rgba[..., 3:].astype(int)
    laid = rgba[..., :3].astype(int) * alpha + np.asarray(ground) * (255 - alpha)
    return ((2 * laid + 255) // 510).astype(np.uint8)


def several_frames(kind, count=3, size=(12, 10)):
    """A file of several frames, each of one colour: 40, 80, ..."""
    frames = [Image.new("RGB", size, (40 * n, 40 * n, 40 * n)) for n in range(1, count + 1)]
    options = {"webp": {"lossless": True}, "mpo": {"quality": 100}}.get(kind, {})
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)


def picture(number):
    pixels = noise(20, 20, 3, seed=number)
    pixels[..., 0] = number
    return encoded(Image.fromarray(pixels), "png")


def laid(form, folder, files):
    """Writes files as a folder, on a store in memory, as a zip or as a tar; returns the source."""
    if form == "memory":
        remote = Store(f"memory://flowkd-test-bad/{folder.name}")
        remote.remove()
        for name, data in files.items():
            remote.write(data, name)
        return remote.uri
    if form == "folder":
        folder.mkdir(exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return str(folder)
    path = folder.with_suffix(f".{form}")
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(path, "w") as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return str(path)


def imported(store, source, **options):
    """The manifest of an import, and the first red value of all of its rows, sorted."""
    config = ImagesConfig(**{"source": source, "name": "mine", "crop": 8, **options})
    manifest = prepare(config, store)
    rows = [load_split(store, manifest, split).x.numpy() for split in manifest.splits]
    return manifest, sorted(np.concatenate(rows)[:, 0, 0, 0].tolist())


def told(manifest):
    """Returns what a manifest remarks, but for how few pictures a test has."""
    return [remark for remark in manifest.remarks if not remark.startswith("Fewer than 30")]
