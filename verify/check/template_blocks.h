/*
 * Whether the blocks of a Jinja template are balanced: every {{, {% and {# is closed, and so is every
 * {% if %}, {% for %} and so on. It is no parser: what stands inside is not looked at, and tags that it
 * does not know are taken as such that have no end.
 */
#ifndef NB_TEMPLATE_BLOCKS_H
#define NB_TEMPLATE_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>

#define NB_TEMPLATE_FAULT 160

/* False if the SIZE bytes at TEXT are not balanced; FAULT then says where and why. */
bool nb_template_is_balanced(const char *text, size_t size, char fault[NB_TEMPLATE_FAULT]);

#endif
