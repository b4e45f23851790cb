/* What flows through a model: the public face of this room. */
#ifndef NB_CALIB_H
#define NB_CALIB_H

#include "calibrate.h"
#include "importance_stats.h"
#include "sums.h"

#endif
