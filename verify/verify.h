/* What a model makes of a text, what quantization cost, whether a file is sound: the public face of this room. */
#ifndef NB_VERIFY_H
#define NB_VERIFY_H

#include "check.h"
#include "drift.h"
#include "drift_stats.h"
#include "forward.h"
#include "hash.h"
#include "model.h"
#include "text_file.h"
#include "tokenize.h"
#include "weight_error.h"

#endif
