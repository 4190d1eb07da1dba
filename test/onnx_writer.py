# SPDX-License-Identifier: Apache-2.0
"""A small network as an ONNX file, written by hand: the package onnx is no dependency."""

from __future__ import annotations

import numpy as np


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def value_info(name, shape):
    dims = b"".join(field(1, field(1, n)) for n in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))


def onnx_file(path, side, outputs=4, scale=1.0):
    """Flatten, then a matrix of ones / inputs times ``scale``: each feature is the image's mean."""
    inputs = 3 * side * side
    matrix = np.full((inputs, outputs), scale / inputs, np.float32)
    axis = field(1, "axis") + field(3, 1) + field(20, 2)
    flatten = field(1, "x") + field(2, "f") + field(4, "Flatten") + field(5, axis)
    product = field(1, "f") + field(1, "m") + field(2, "y") + field(4, "MatMul")
    tensor = field(1, inputs) + field(1, outputs) + field(2, 1) + field(8, "m") + field(9, matrix.tobytes())
    graph = field(1, flatten) + field(1, product) + field(2, "g") + field(5, tensor)
    graph += field(11, value_info("x", (1, 3, side, side))) + field(12, value_info("y", (1, outputs)))
    path.write_bytes(field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13)))
    return str(path)
