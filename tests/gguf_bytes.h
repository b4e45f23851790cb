/* A GGUF file in the making, field by field, so that every field can lie. */
#ifndef NB_GGUF_BYTES_H
#define NB_GGUF_BYTES_H

#include <stddef.h>
#include <stdint.h>

extern unsigned char file[1 << 16];
extern size_t length;

void put(const void *bytes, size_t size);
void u32(uint32_t v);
void u64(uint64_t v);
void str(const char *s); /* its length and its bytes */
/* Begins a file. */
void header(uint32_t version, uint64_t tensors, uint64_t kvs);
/* A tensor info; sides beyond the second are 1. */
void info(const char *name, uint32_t n_dims, uint64_t a, uint64_t b, uint32_t type, uint64_t offset);
/* Padding to 32, and so many zeros. */
void pad(size_t data_bytes);

#endif
