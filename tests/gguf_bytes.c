#include "gguf_bytes.h"

#include "testing.h"

#include <string.h>

unsigned char file[1 << 16];
size_t length;

void
put(const void *bytes, size_t size)
{
    assert_true(length + size <= sizeof file);
    memcpy(file + length, bytes, size);
    length += size;
}

void
u32(uint32_t v)
{
    put(&v, 4);
}
void
u64(uint64_t v)
{
    put(&v, 8);
}

void
str(const char *s)
{
    u64(strlen(s));
    put(s, strlen(s));
}

void
header(uint32_t version, uint64_t tensors, uint64_t kvs)
{
    length = 0;
    put("GGUF", 4);
    u32(version);
    u64(tensors);
    u64(kvs);
}

void
info(const char *name, uint32_t n_dims, uint64_t a, uint64_t b, uint32_t type, uint64_t offset)
{
    str(name);
    u32(n_dims);
    if (n_dims > 0)
        u64(a);
    if (n_dims > 1)
        u64(b);
    for (uint32_t i = 2; i < n_dims && i < 8; i++)
        u64(1);
    u32(type);
    u64(offset);
}

void
pad(size_t data_bytes)
{
    while (length % 32 != 0)
        put("", 1);
    assert_true(length + data_bytes <= sizeof file);
    memset(file + length, 0, data_bytes);
    length += data_bytes;
}
