/* What bytes in model files mean: the public face of this room. */
#ifndef NB_FORMATS_H
#define NB_FORMATS_H

#include "file_out.h"
#include "findings.h"
#include "gguf.h"
#include "gguf_assemble.h"
#include "gguf_edit.h"
#include "gguf_split.h"
#include "imatrix.h"
#include "metadata.h"
#include "model_name.h"
#include "regex.h"
#include "source.h"
#include "split_name.h"
#include "status.h"
#include "types.h"
#include "vocabulary.h"

#endif
