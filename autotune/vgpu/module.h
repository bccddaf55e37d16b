/* module.h -- modules of kernels, and launches of their functions, behind the driver's names
 *
 * Answers are the driver's numbers: enum answer.
 */
#ifndef VGPU_MODULE_H
#define VGPU_MODULE_H

#include "code.h"
#include "device_table.h"

enum answer {
    ANSWER_SUCCESS = 0,
    ANSWER_INVALID_VALUE = 1,
    ANSWER_OUT_OF_MEMORY = 2,
    ANSWER_NOT_INITIALIZED = 3,
    ANSWER_INVALID_DEVICE = 101,
    ANSWER_INVALID_IMAGE = 200,
    ANSWER_INVALID_CONTEXT = 201,
    ANSWER_NO_BINARY = 209,
    ANSWER_INVALID_PTX = 218,
    ANSWER_NEWER_PTX = 222,
    ANSWER_INVALID_HANDLE = 400,
    ANSWER_NOT_FOUND = 500,
    ANSWER_NOT_READY = 600,
    ANSWER_ILLEGAL_ADDRESS = 700,
    ANSWER_OUT_OF_RESOURCES = 701,
    ANSWER_MISALIGNED = 716,
    ANSWER_LAUNCH_FAILED = 719,
    ANSWER_NOT_SUPPORTED = 801,
    ANSWER_CAPTURE_FORBIDS = 900,
    ANSWER_CAPTURE_INVALID = 901,
};

struct context;

struct module {
    struct code code;
    struct context *context;
    struct function *functions; /* by name, of those asked for */
    uint64_t *variable;         /* allocations */
    size_t variables;
    int device;
};

struct function {
    struct module *module;
    const struct code_function *code;
    uint32_t dynamic_most; /* dynamic shared memory allowed */
    struct function *next;
};

/* One launch as it was asked for; `params` are copied and owned. */
struct module_launch {
    struct function *function;
    uint32_t grid[3], block[3], cluster[3];
    uint32_t dynamic_bytes;
    uint8_t *params;
};

/* The image is PTX text (cubins: ANSWER_NO_BINARY).  `log` gets why it is refused. */
int module_load(struct context *context, int device, const void *image, struct module **out,
                char *log, size_t log_bytes);
void module_unload(struct module *m);
int module_function(struct module *m, const char *name, struct function **out);
int module_variable(struct module *m, const char *name, uint64_t *address, size_t *bytes);

int function_attribute(const struct function *f, int attribute, int *value);
int function_set_attribute(struct function *f, int attribute, int value);

/* Check the request and copy its parameters: from an array of pointers, or from a buffer. */
int module_prepare(struct module_launch *l, void **params, void **extra);
/* Give the launch a copy of its parameters.  0: no memory. */
int module_copy_params(struct module_launch *l);
/* Run it now.  The answer is what a GPU would say at the next wait. */
int module_run(const struct module_launch *l);

/* Settings of vgpu_configure() and vgpu_time(), and the sum of counts. */
void module_time(int on);
void module_configure(int keep_going, int checks, int threads);
void module_counts(struct vgpu_counts *out);
void module_reset_counts(void);

#endif
