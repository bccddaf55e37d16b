/* graph.c -- lists of recorded work */
#include "graph.h"

#include <stdlib.h>
#include <string.h>

int graph_add(struct graph *g, const struct graph_node *node)
{
    if (g->count == g->room) {
        const size_t room = g->room ? g->room * 2 : 16;
        struct graph_node *more = realloc(g->node, room * sizeof *more);
        if (!more) return 0;
        g->node = more;
        g->room = room;
    }
    g->node[g->count++] = *node;
    return 1;
}

int graph_copy(const struct graph *g, struct graph *out)
{
    *out = (struct graph){0};
    for (size_t i = 0; i < g->count; i++) {
        struct graph_node n = g->node[i];
        if (n.launch.params && !module_copy_params(&n.launch)) return graph_clear(out), 0;
        if (!graph_add(out, &n)) {
            free(n.launch.params);
            graph_clear(out);
            return 0;
        }
    }
    return 1;
}

void graph_clear(struct graph *g)
{
    for (size_t i = 0; i < g->count; i++) free(g->node[i].launch.params);
    free(g->node);
    *g = (struct graph){0};
}
