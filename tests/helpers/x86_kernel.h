/* x86_kernel.h -- an x86 kernel for a test: by its request's name, compiled as shipped or emulated
 *
 * Why: the bodies for AVX-512 and for VNNI must be run where the processor has neither.  Emulated, a
 * kernel's source is the same text; only <immintrin.h> is another one (tests/x86/simde).
 */
#ifndef TESTS_X86_KERNEL_H
#define TESTS_X86_KERNEL_H

#include "device.h"
#include "entry.h"
#include "template.h"

enum x86_how {
    X86_AS_SHIPPED,        /* by cc.h, for a processor of that arch */
    X86_EMULATED,          /* for x86-64-v3, and told that the processor has nothing more */
    X86_EMULATED_FEATURES, /* the same, told that it has every QK_CPU_ feature */
};

/* The kernel of the best tune point but `point` for rows 1..m_hi of a request; fails the test when
 * it cannot be made.  *image is free()d by the caller; the entry points to it. */
void x86_kernel(const char *request, const char *arch, int point, int m_hi, enum x86_how how,
                struct entry *e, void **image);

/* What a group of tests works with: cmocka's group set-up and tear-down. */
extern qrt_device *x86_cpu;
extern struct template_set *x86_templates;
int x86_setup(void **state);
int x86_teardown(void **state);

/* Make a kernel as above and fail the test where it differs from ref over check.h's grid. */
void x86_check(const char *request, const char *arch, int point, int m_hi, enum x86_how how);

/* The best kernel as shipped, for x86-64-v3 and, where the processor has AVX-512, x86-64-v4. */
void x86_check_here(const char *request, int m_hi);

/* How many tune points the request has. */
int x86_kernel_points(const char *request, const char *arch);

#endif
