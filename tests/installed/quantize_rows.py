"""quantize_rows.py LIBRARY: what quantize_rows.c does, from Python."""
import ctypes
import sys


class Error(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("code", ctypes.c_int), ("message", ctypes.c_char * 1024)]


nibble = ctypes.CDLL(sys.argv[1])
error = Error(ctypes.sizeof(Error))
weights = (ctypes.c_float * 512)(*[(i * 37 % 101 - 50) / 50 for i in range(512)])
again = (ctypes.c_float * 512)()
rows, columns, size = ctypes.c_size_t(2), ctypes.c_size_t(256), ctypes.c_uint64()

nibble.nibble_rows_bytes(b"q4_K", ctypes.c_uint64(2), ctypes.c_uint64(256), ctypes.byref(size), ctypes.byref(error))
blocks, room = ctypes.create_string_buffer(size.value), ctypes.c_size_t(size.value)
if nibble.nibble_quantize_rows(b"q4_K", weights, rows, columns, None, blocks, room, ctypes.byref(error)) or \
        nibble.nibble_dequantize_rows(b"q4_K", blocks, room, rows, columns, again, ctypes.byref(error)):
    sys.exit(error.message.decode())
largest = max(abs(a - b) for a, b in zip(weights, again))
print(f"512 floats in {size.value} bytes, off by at most {largest:.4f}")
