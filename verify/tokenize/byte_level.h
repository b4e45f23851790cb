/*
 * The byte-level alphabet of GPT-2: each of the 256 bytes has a printable
 * character of its own. Printable Latin-1 stands for itself; the other bytes, in
 * order, for U+0100 and on.
 */
#ifndef NB_BYTE_LEVEL_H
#define NB_BYTE_LEVEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The character that stands for BYTE, as a code point below U+0144. */
uint32_t nb_byte_level_character(unsigned char byte);
/*
 * The bytes that TEXT, which is in that alphabet, stands for, into OUT (LENGTH bytes of room are
 * enough). False where a character is none of the alphabet's.
 */
bool nb_byte_level_decode(const char *text, size_t length, char *out, size_t *out_length);

#endif
