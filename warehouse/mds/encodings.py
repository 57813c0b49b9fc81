"""Encode Arrow columns as payloads, and decode them.

======================================  =============================================================
encoding                                Arrow type when read; what may be written
======================================  =============================================================
bytes                                   large_binary
str                                     large_string
json                                    large_string of JSON text; any other type is written as JSON
str_int, str_float, str_decimal         large_string of the digits, so that nothing is rounded; numbers
int, int8 … uint64, float16/32/64       the number; any number that fits
ndarray:DTYPE:D1,D2                     fixed_size_list, nested
ndarray, ndarray:DTYPE                  list where all arrays of a shard have one axis and one dtype,
                                        else struct(dtype, shape, values as bytes)
pil, jpeg, png, jpeg_array, list[…]     large_binary: the payload as stored
======================================  =============================================================

``pkl`` is refused: reading it runs code. A payload is a numpy array ``uint8[n, size]`` where the encoding's size is
fixed, else an Arrow large_binary column.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from udfs.errors import UsageError, did_you_mean
from warehouse.mds.index import MDSError

#: dtype byte of an ndarray whose dtype is not in its encoding.
DTYPES = {
    "uint8": 8, "int8": 9, "uint16": 16, "int16": 17, "float16": 18, "uint32": 32, "int32": 33, "float32": 34,
    "uint64": 64, "int64": 65, "float64": 66,
}  # fmt: skip
_DTYPE_NAMES = {code: name for name, code in DTYPES.items()}
_TEXT = {"str", "json", "str_int", "str_float", "str_decimal"}
_IMAGES = {"pil", "jpeg", "png", "jpeg_array", "jpegarray", "list[pil]", "list[jpeg]", "list[png]"}
_PLAIN = {"bytes", *_TEXT, *_IMAGES}


@dataclass(frozen=True, slots=True)
class Encoding:
    """A column encoding. ``size`` is None where samples differ in size."""

    name: str
    dtype: str | None = None
    shape: tuple[int, ...] | None = None

    @property
    def is_array(self) -> bool:
        """Whether values are arrays."""
        return self.name.partition(":")[0] == "ndarray"

    @property
    def size(self) -> int | None:
        """The bytes of a payload."""
        if self.dtype is None or (self.is_array and self.shape is None):
            return None
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape or (1,), dtype=np.int64))


@lru_cache(maxsize=256)
def parse(name: str) -> Encoding:
    """Parse an encoding's name in index.json. Raises UsageError for one that is unknown, or unsafe."""
    if name in _PLAIN:
        return Encoding(name)
    if name == "int":
        return Encoding(name, "int64")
    if name in DTYPES:
        return Encoding(name, name)
    if name == "pkl":
        raise UsageError("encoding pkl is refused: reading a pickle runs the code in it")
    kind, _, rest = name.partition(":")
    if kind == "ndarray":
        dtype, _, dims = rest.partition(":")
        if not dtype and not dims:
            return Encoding(name)
        sizes = tuple(int(dim) for dim in dims.split(",") if dim.isdecimal()) if dims else None
        if dtype in DTYPES and (sizes is None or (len(sizes) == len(dims.split(",")) and min(sizes) > 0)):
            return Encoding(name, dtype, sizes)
    raise UsageError(f"no encoding {name!r}", hint=did_you_mean(name, {*_PLAIN, *DTYPES, "int", "ndarray"}))


#: ``uint8[n, size]`` or large_binary.
Payload: TypeAlias = NDArray[Any] | pa.LargeBinaryArray


def binary(data: Any, offsets: NDArray[Any]) -> pa.LargeBinaryArray:
    """Make a large_binary column over a buffer; ``offsets`` is int64[n + 1]."""
    buffers = [None, pa.py_buffer(np.ascontiguousarray(offsets, np.int64)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


def as_binary(payload: Payload) -> pa.LargeBinaryArray:
    """Return a payload of either form as a large_binary column."""
    if isinstance(payload, np.ndarray):
        count, size = payload.shape
        return binary(np.ascontiguousarray(payload).reshape(-1), np.arange(count + 1, dtype=np.int64) * size)
    return payload


def join(parts: list[pa.LargeBinaryArray]) -> pa.LargeBinaryArray:
    """Concatenate columns row by row."""
    if len(parts) == 1:
        return parts[0]
    return pc.binary_join_element_wise(*parts, pa.scalar(b"", pa.large_binary()))


def lengths(payload: pa.LargeBinaryArray) -> NDArray[Any]:
    """Return the bytes of each payload, int64. Raises MDSError for one of 4 GiB or more: sizes are 32 bits."""
    sizes: NDArray[Any] = pc.binary_length(payload).to_numpy(zero_copy_only=False)
    if (large := np.flatnonzero(sizes >= 1 << 32)).size:
        raise MDSError(f"a value of {sizes[large[0]]:,} bytes; MDS holds less than 4 GiB", sample=int(large[0]))
    return sizes


# Writing


def encode(column: pa.Array, name: str, encoding: Encoding) -> Payload:
    """Encode one column. Raises MDSError that names column and row for NULLs and values that do not fit."""
    if column.null_count:
        row = pc.index(pc.is_null(column), True).as_py()
        raise MDSError(f"column {name!r} is NULL; MDS has no NULL", sample=row)
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    kind = column.type
    try:
        if pa.types.is_fixed_size_binary(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return _stored(column.cast(pa.large_binary()), name, encoding)
        if encoding.is_array:
            return _encode_arrays(column, name, encoding)
        if encoding.dtype is not None:
            return _encode_numbers(column, encoding.dtype)
        if encoding.name in _TEXT:
            return _encode_text(column, encoding.name)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError, OverflowError) as error:
        raise MDSError(f"column {name!r} as {encoding.name}: {error}") from error
    raise MDSError(f"column {name!r} of type {kind} cannot be written as {encoding.name}")


def _stored(column: pa.LargeBinaryArray, name: str, encoding: Encoding) -> Payload:
    """Take bytes as the payload itself, whatever the encoding."""
    if encoding.size is None:
        return column
    lengths = pc.binary_length(column).to_numpy(zero_copy_only=False)
    if (wrong := np.flatnonzero(lengths != encoding.size)).size:
        message = f"column {name!r}: {lengths[wrong[0]]} bytes, {encoding.name} has {encoding.size}"
        raise MDSError(message, sample=int(wrong[0]))
    offsets = np.frombuffer(column.buffers()[1], np.int64)[column.offset : column.offset + len(column) + 1]
    data = np.frombuffer(column.buffers()[2] or b"", np.uint8)
    rows = data[offsets[0] : offsets[-1]] if len(column) else data[:0]
    return rows.reshape(len(column), encoding.size)


def _encode_numbers(column: pa.Array, dtype: str) -> NDArray[Any]:
    """Cast numbers as numpy does: integers must fit, floats are rounded to the narrower type."""
    target = pa.from_numpy_dtype(np.dtype(dtype))
    safe = not pa.types.is_floating(target)
    values = column.cast(target, safe=safe).to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(values).view(np.uint8).reshape(len(column), -1)


def _encode_text(column: pa.Array, encoding: str) -> pa.LargeBinaryArray:
    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        if encoding == "json":
            texts = map(json.dumps, column.to_pylist())
        elif _is_number(kind, encoding):
            texts = map(str, column.to_pylist())
        else:
            raise ValueError(f"a column of type {kind}")
        column = pa.array(texts, pa.large_string())
    return column.cast(pa.large_string()).view(pa.large_binary())


def _is_number(kind: pa.DataType, encoding: str) -> bool:
    if encoding == "str_float":
        return bool(pa.types.is_floating(kind))
    return encoding != "str" and bool(pa.types.is_integer(kind) or pa.types.is_decimal(kind))


def _encode_arrays(column: pa.Array, name: str, encoding: Encoding) -> Payload:
    if pa.types.is_struct(column.type):
        return _encode_any_arrays(column, name, encoding)
    dims: list[int] = []
    values = column
    while pa.types.is_fixed_size_list(values.type):
        dims.append(values.type.list_size)
        values = values.flatten()
    lengths = None
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        if dims:
            raise MDSError(f"column {name!r}: arrays of lists; write struct(dtype, shape, values) instead")
        lengths = pc.list_value_length(values).to_numpy(zero_copy_only=False).astype(np.int64)
        values = values.flatten()
    if values.null_count:
        raise MDSError(f"column {name!r}: a NULL inside an array; MDS has no NULL")
    array = values.to_numpy(zero_copy_only=False)
    if array.dtype.name not in DTYPES or (encoding.dtype and array.dtype.name != encoding.dtype):
        raise MDSError(f"column {name!r} holds {array.dtype.name}, the encoding is {encoding.name}")
    flat = np.ascontiguousarray(array).view(np.uint8)
    if lengths is None:
        rows = flat.reshape(len(column), -1)
        if encoding.shape is None:
            head = np.frombuffer(_array_head(tuple(dims), array.dtype.name, encoding), np.uint8)
            return as_binary(np.concatenate([np.tile(head, (len(rows), 1)), rows], axis=1))
        if tuple(dims) != encoding.shape:
            raise MDSError(f"column {name!r}: shape {tuple(dims)}, the encoding is {encoding.name}", sample=0)
        return rows
    if (empty := np.flatnonzero(lengths == 0)).size:
        raise MDSError(f"column {name!r}: an empty array; MDS has none", sample=int(empty[0]))
    if encoding.shape is not None:
        if (wrong := np.flatnonzero(lengths != encoding.shape[0])).size or len(encoding.shape) > 1:
            row = int(wrong[0]) if wrong.size else 0
            raise MDSError(f"column {name!r}: shape ({lengths[row]},), the encoding is {encoding.name}", sample=row)
        return flat.reshape(len(column), -1)
    ends = np.concatenate([[0], np.cumsum(lengths)]) * array.itemsize
    return join([_array_heads(lengths, array.dtype.name, encoding), binary(flat, ends)])


def _array_head(shape: tuple[int, ...], dtype: str, encoding: Encoding) -> bytes:
    """Write an array's head: [dtype byte], (axes << 2 | log2 of bytes per size), sizes."""
    width = next(width for width in range(4) if max(shape) < 1 << (8 << width))
    head = bytes([len(shape) << 2 | width]) + b"".join(size.to_bytes(1 << width, "little") for size in shape)
    return head if encoding.dtype else bytes([DTYPES[dtype]]) + head


def _array_heads(lengths: NDArray[Any], dtype: str, encoding: Encoding) -> pa.LargeBinaryArray:
    """Write the heads of arrays with one axis. Their lengths differ with the width of the size."""
    width = np.searchsorted([1 << 8, 1 << 16, 1 << 32], lengths, side="right")
    first = 0 if encoding.dtype else 1
    table = np.empty((len(lengths), first + 9), np.uint8)
    table[:, :first] = DTYPES[dtype]
    table[:, first] = 4 | width
    table[:, first + 1 :] = lengths.astype("<u8").view(np.uint8).reshape(-1, 8)
    used = first + 1 + (1 << width)
    filled = np.arange(table.shape[1]) < used[:, None]
    return binary(table[filled], np.concatenate([[0], np.cumsum(used)]))


def _encode_any_arrays(column: pa.Array, name: str, encoding: Encoding) -> Payload:
    """Encode struct(dtype, shape, values): arrays of any shape, one by one."""
    payloads = []
    for row, value in enumerate(column.to_pylist()):
        dtype, shape, data = value["dtype"], tuple(value["shape"]), value["values"]
        fits = dtype in DTYPES and encoding.dtype in (None, dtype) and encoding.shape in (None, shape)
        if not fits or not shape or min(shape) < 1 or len(data) != np.dtype(dtype).itemsize * int(np.prod(shape)):
            raise MDSError(f"column {name!r}: {dtype}{list(shape)} does not fit {encoding.name}", sample=row)
        payloads.append(data if encoding.shape else _array_head(shape, dtype, encoding) + data)
    column = pa.array(payloads, pa.large_binary())
    return _stored(column, name, encoding)


# Reading


def decode(payload: Payload, name: str, encoding: Encoding) -> pa.Array:
    """Decode one column's payloads. Raises MDSError that names the sample, counted in this payload."""
    if encoding.is_array:
        return _decode_arrays(payload, name, encoding)
    if encoding.dtype is not None:
        assert isinstance(payload, np.ndarray)
        return pa.array(np.ascontiguousarray(payload).view(encoding.dtype).reshape(-1))
    assert not isinstance(payload, np.ndarray)
    if encoding.name not in _TEXT:
        return payload
    text = payload.view(pa.large_string())
    try:
        text.validate(full=True)
    except pa.ArrowInvalid as error:
        for row, value in enumerate(payload):
            try:
                value.as_py().decode()
            except UnicodeDecodeError as reason:
                raise MDSError(f"column {name!r} is not UTF-8: {reason}", sample=row) from error
        raise MDSError(f"column {name!r}: {error}") from error
    if encoding.name == "json":
        for row, value in enumerate(text.to_pylist()):
            try:
                json.loads(value)
            except (ValueError, RecursionError) as error:
                raise MDSError(f"column {name!r} is not JSON: {error}", sample=row) from error
    return text


def _decode_arrays(payload: Payload, name: str, encoding: Encoding) -> pa.Array:
    if isinstance(payload, np.ndarray):
        assert encoding.dtype is not None and encoding.shape is not None
        column = pa.array(np.ascontiguousarray(payload).reshape(-1).view(encoding.dtype))
        for size in reversed(encoding.shape):
            column = pa.FixedSizeListArray.from_arrays(column, size)
        return column
    offsets = np.frombuffer(payload.buffers()[1], np.int64)[payload.offset : payload.offset + len(payload) + 1]
    data = np.frombuffer(payload.buffers()[2] or b"", np.uint8)
    lists = _decode_lists(offsets, data, encoding)
    return _decode_any_arrays(payload, name, encoding) if lists is None else lists


def _decode_lists(offsets: NDArray[Any], data: NDArray[Any], encoding: Encoding) -> pa.Array | None:
    """Arrays of one axis and one dtype, without a loop; None where there is anything else, damage included."""
    first = 0 if encoding.dtype else 1
    begins, ends = offsets[:-1], offsets[1:]
    if not len(begins) or (ends - begins).min() < first + 2:
        return pa.array([], pa.large_list(pa.from_numpy_dtype(encoding.dtype or "int64"))) if not len(begins) else None
    dtype = encoding.dtype
    if dtype is None:
        codes = np.unique(data[begins])
        dtype = _DTYPE_NAMES.get(int(codes[0])) if len(codes) == 1 else None
    marks = data[begins + first]
    if dtype is None or (marks >> 2 != 1).any():
        return None
    used = first + 1 + (1 << (marks & 3).astype(np.int64))
    item = np.dtype(dtype).itemsize
    if (ends - begins < used).any() or ((ends - begins - used) % item).any():
        return None
    lengths = (ends - begins - used) // item
    if (_sizes(data, begins + first + 1, used - first - 1) != lengths).any():
        return None
    values = gather(data, begins + used, ends)
    flat = np.frombuffer(values.buffers()[2] or b"", np.uint8)[: int(lengths.sum()) * item].view(dtype)
    return pa.LargeListArray.from_arrays(np.concatenate([[0], np.cumsum(lengths)]), pa.array(flat))


def _sizes(data: NDArray[Any], begins: NDArray[Any], widths: NDArray[Any]) -> NDArray[Any]:
    """Read little-endian integers of 1, 2, 4 or 8 bytes at the given places."""
    total = np.zeros(len(begins), np.uint64)
    for byte in range(8):
        has = widths > byte
        total[has] |= data[begins[has] + byte].astype(np.uint64) << np.uint64(8 * byte)
    return total.astype(np.int64)


def _decode_any_arrays(payload: pa.LargeBinaryArray, name: str, encoding: Encoding) -> pa.Array:
    """Decode arrays of different kinds as struct(dtype, shape, values)."""
    rows: list[dict[str, Any]] = []
    for row, data in enumerate(payload.to_pylist()):
        try:
            at = 0 if encoding.dtype else 1
            dtype = encoding.dtype or _DTYPE_NAMES[data[0]]
            axes, width = data[at] >> 2, 1 << (data[at] & 3)
            values = at + 1 + axes * width
            shape = [int.from_bytes(data[at + 1 + axis * width :][:width], "little") for axis in range(axes)]
            if len(data) - values != np.dtype(dtype).itemsize * int(np.prod(shape)):
                raise ValueError(f"{len(data) - values} bytes for {dtype}{shape}")
        except (ValueError, KeyError, IndexError) as error:
            raise MDSError(f"column {name!r}: not an array ({error})", sample=row) from error
        rows.append({"dtype": dtype, "shape": shape, "values": data[values:]})
    fields = [("dtype", pa.string()), ("shape", pa.list_(pa.int64())), ("values", pa.large_binary())]
    return pa.array(rows, pa.struct(fields))


def gather(data: NDArray[Any], begins: NDArray[Any], ends: NDArray[Any]) -> pa.LargeBinaryArray:
    """Take the ranges ``begins[i]:ends[i]`` of a buffer as a compact column. Ranges must ascend and not overlap.

    The buffer is seen as a column in which wanted and unwanted ranges alternate; taking every second one lets
    Arrow move the bytes.
    """
    if not len(begins):
        return pa.array([], pa.large_binary())
    bounds = np.empty(2 * len(begins), np.int64)
    bounds[::2], bounds[1::2] = begins, ends
    return binary(data, bounds).take(pa.array(np.arange(0, 2 * len(begins) - 1, 2)))
