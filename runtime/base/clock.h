/* Monotonic seconds; and the time of day for log files. */
#ifndef DL_BASE_CLOCK_H
#define DL_BASE_CLOCK_H

double dl_seconds(void);      /* since an arbitrary start, never backwards */
double dl_wall_seconds(void); /* since 1970 */

#endif
