/* The results of a verify run as a page. */
#ifndef NB_VERIFY_PAGE_H
#define NB_VERIFY_PAGE_H

#include "cli/verify_report.h"
#include "formats/base/status.h"

/*
 * Writes the page NAME, whole or not at all: report.html with the numbers, in one file that loads nothing
 * else. REPORT must have the errors of the weights. Files are named without their folders.
 */
enum nb_status verify_page_write(const struct verify_report *report, const char *name,
                                 struct nb_error *err) NB_MUST_CHECK;

#endif
