/* Floats to blocks, recipes, plans and the pipeline: the public face of this room. */
#ifndef NB_QUANTIZE_H
#define NB_QUANTIZE_H

#include "codec.h"
#include "pipeline.h"
#include "plan.h"
#include "recipe.h"

#endif
