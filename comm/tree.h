/* The tree that every sum follows, whatever ranks hold its leaves.
 *
 * The node over leaves [a, b) has the children [a, m) and [m, b), m = a + the largest power of two
 * below b - a; its value is left + right in fp32. A rank holds the leaves of dl_leaf_range; the
 * largest nodes that lie wholly in its range are its partials, which it sums alone, each into the
 * memory of the node's first leaf. The rest of the tree joins partials. Nothing here allocates or
 * waits. */
#ifndef DL_COMM_TREE_H
#define DL_COMM_TREE_H

#include <stdbool.h>
#include <stdint.h>

int dl_tree_middle(int a, int b);                   /* m above, for b - a > 1 */
int dl_tree_owner(int leaves, int ranks, int leaf); /* the rank that holds the leaf */

/* Calls fn for the partials of `rank`, ascending; `slot` is the place of the node's first leaf
 * among the rank's own leaves. Returns their number. fn may be NULL. */
typedef void (*dl_partial_fn)(void *context, int rank, int slot);
int dl_tree_partials(int leaves, int ranks, int rank, dl_partial_fn fn, void *context);

/* The most partials that a range of `count` leaves can have in any tree. */
int dl_tree_most_partials(int count);

/* Whether the rank has anything to sum alone. */
bool dl_tree_has_presum(int leaves, int ranks, int rank);

/* Sums the rank's partials in place, elements [first, last). */
void dl_tree_presum(float *const *leaf, int leaves, int ranks, int rank, int64_t first,
                    int64_t last);

/* Joins partials: out[0 .. last-first) gets the sum's elements [first, last). at() gives the memory
 * of element i of the partial that begins in `slot` of `rank`; more elements follow it.
 * past_caches: write a result of many megabytes straight to memory. */
typedef const float *(*dl_partial_at)(const void *context, int rank, int slot, int64_t i);
void dl_tree_join(int leaves, int ranks, dl_partial_at at, const void *context, float *out,
                  int64_t first, int64_t last, bool past_caches);

#endif
