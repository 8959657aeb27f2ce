"""MessagePack with NumPy arrays, as openpi packs them: pixels travel as they are."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import msgpack  # type: ignore[import-untyped]
import numpy as np


def pack(message: Mapping[Any, Any], jpeg_quality: int | None = None) -> bytes:
    """Images [height, width, 3] of uint8 become JPEG files where a quality is given."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            if jpeg_quality is not None and value.dtype == np.uint8 and value.ndim == 3 and value.shape[2] == 3:
                return jpeg_file(value, jpeg_quality)
            if value.dtype.kind not in "biufSU":
                raise TypeError(f"An array of {value.dtype} cannot travel.")
            return {
                b"__ndarray__": True,
                b"data": value.tobytes(),
                b"dtype": value.dtype.str,
                b"shape": value.shape,
            }
        if isinstance(value, np.generic):
            return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
        raise TypeError(f"{type(value).__name__} cannot travel.")

    packed: bytes = msgpack.packb(message, default=plain)
    return packed


def unpack(frame: bytes) -> Any:
    """Raises ValueError for what cannot be read."""
    try:
        return msgpack.unpackb(frame, object_hook=_array)
    except (msgpack.UnpackException, TypeError) as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _array(entries: dict[Any, Any]) -> Any:
    if b"__ndarray__" in entries:
        array = np.frombuffer(entries[b"data"], dtype=np.dtype(entries[b"dtype"]))
        return array.reshape(entries[b"shape"])
    if b"__npgeneric__" in entries:
        return np.dtype(entries[b"dtype"]).type(entries[b"data"])
    return entries


def jpeg_file(image: np.ndarray[Any, Any], quality: int) -> bytes:
    file = io.BytesIO()
    _pillow()(image).save(file, "JPEG", quality=quality)
    return file.getvalue()


def _pillow() -> Callable[[Any], Any]:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("JPEG needs Pillow: pip install 'turbo-pi-client[jpeg]'") from error
    return Image.fromarray


def check_jpeg(quality: int | None) -> None:
    """Raises before the first image does: ImportError without Pillow, ValueError for no quality."""
    if quality is None:
        return
    if not 1 <= quality <= 95:
        raise ValueError(f"jpeg_quality is 1 to 95, got {quality}.")
    _pillow()
