/* coverage.c -- whether a bundle has the kernels that requests ask for, without a device */
#include "coverage.h"

static int serves(const struct bundle_kernel *k, const struct request *request)
{
    const struct arch *built = arch_find(k->record.arch);
    return built && arch_runs_on(built, request->arch) &&
           op_desc_equal(&k->record.desc, &request->desc);
}

/* The last row from M on that the kernels at hand reach without a gap, M - 1 when none has M; and
 * the first row behind M that some kernel starts at. */
static int reach(const qrt_bundle *bundle, uint32_t count, const struct request *request, int M,
                 int *next)
{
    int last = M - 1;
    *next = request->m_hi + 1;
    for (uint32_t i = 0; i < count; i++) {
        const struct bundle_kernel k = bundle_kernel_get(bundle, i);
        if (!serves(&k, request)) continue;
        if (k.record.m_lo <= M && k.record.m_hi > last) last = k.record.m_hi;
        if (k.record.m_lo > M && k.record.m_lo < *next) *next = k.record.m_lo;
    }
    return last;
}

int coverage_gap(const qrt_bundle *bundle, const struct request *request, struct coverage_gap *out)
{
    const uint32_t count = bundle_about_get(bundle).kernel_count;
    for (int M = request->m_lo, next; M <= request->m_hi;) {
        const int last = reach(bundle, count, request, M, &next);
        if (last < M) {
            *out = (struct coverage_gap){request, M, next - 1};
            return 1;
        }
        if (last >= request->m_hi) break;
        M = last + 1;
    }
    return 0;
}
