/*
 * The byte-level alphabet of GPT-2, which represents each of the 256 bytes by a
 * printable character. Printable Latin-1 bytes represent themselves; the others
 * are U+0100 and up, in order.
 */
#ifndef NB_BYTE_LEVEL_H
#define NB_BYTE_LEVEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The character for BYTE, as a code point below U+0144. */
uint32_t nb_byte_level_character(unsigned char byte);
/*
 * Decodes TEXT from this alphabet to bytes in OUT, which needs at most LENGTH bytes. False if a
 * character is not in the alphabet.
 */
bool nb_byte_level_decode(const char *text, size_t length, char *out, size_t *out_length);

#endif
