/* The one list of rows in ops/. Each line makes the row known to graphs, tests and documentation. */
#ifndef DL_OPS_OP_LIST_H
#define DL_OPS_OP_LIST_H

#define DL_OP_LIST(X)

#endif
