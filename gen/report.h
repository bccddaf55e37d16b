/* report.h -- measurements as one self-contained HTML page
 *
 * The page needs no network and no script, follows light and dark by the reader's preference, and shows
 * of each device
 *   roofline   every measured kernel: operations a second over operations a byte, below the ceilings
 *              that a bench file measured or, for known GPUs, the datasheet says
 *   tuning     time over the default's, trial by trial, and the best so far
 *   winners    the best kernel of each request, shape and rows beside the default
 *   errors     how near kernels came to their bounds against ref
 *   files      where it comes from: device, versions, dates
 * Equal inputs give equal bytes: nothing of the machine or the day that makes the page is in it.
 */
#ifndef QGEN_REPORT_H
#define QGEN_REPORT_H

#include "html.h"
#include "records.h"

/* The whole page; free(*page). */
qrt_status report_page(const struct records *r, const struct gpus *table, char **page,
                       size_t *bytes);

#endif
