/* graph.h -- what a captured stream did, to be done again: launches, copies and fills in order */
#ifndef VGPU_GRAPH_H
#define VGPU_GRAPH_H

#include "module.h"

enum graph_kind { GRAPH_LAUNCH, GRAPH_COPY_UP, GRAPH_COPY_DOWN, GRAPH_COPY, GRAPH_FILL };

struct graph_node {
    enum graph_kind kind;
    struct module_launch launch; /* with parameters of its own */
    uint64_t to, from;           /* device addresses, or host pointers */
    size_t bytes;                /* of a fill: elements */
    uint32_t value, size;        /* of a fill: an element, and its bytes */
};

struct graph {
    struct graph_node *node;
    size_t count, room;
};

/* Takes over the launch's parameters.  0: no memory. */
int graph_add(struct graph *g, const struct graph_node *node);
/* A copy with parameters of its own.  0: no memory. */
int graph_copy(const struct graph *g, struct graph *out);
/* Frees what is in it, not the graph. */
void graph_clear(struct graph *g);

#endif
