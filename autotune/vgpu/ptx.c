/* ptx.c -- the types and special registers of PTX */
#include "ptx.h"

#include <string.h>

static const struct {
    const char *name;
    uint8_t bytes, is_signed;
} types[PTX_TYPE_COUNT] = {
    [PTX_B8] = {"b8", 1, 0},     [PTX_B16] = {"b16", 2, 0},       [PTX_B32] = {"b32", 4, 0},
    [PTX_B64] = {"b64", 8, 0},   [PTX_B128] = {"b128", 16, 0},    [PTX_U8] = {"u8", 1, 0},
    [PTX_U16] = {"u16", 2, 0},   [PTX_U32] = {"u32", 4, 0},       [PTX_U64] = {"u64", 8, 0},
    [PTX_S8] = {"s8", 1, 1},     [PTX_S16] = {"s16", 2, 1},       [PTX_S32] = {"s32", 4, 1},
    [PTX_S64] = {"s64", 8, 1},   [PTX_F16] = {"f16", 2, 0},       [PTX_F16X2] = {"f16x2", 4, 0},
    [PTX_BF16] = {"bf16", 2, 0}, [PTX_BF16X2] = {"bf16x2", 4, 0}, [PTX_TF32] = {"tf32", 4, 0},
    [PTX_F32] = {"f32", 4, 0},   [PTX_F64] = {"f64", 8, 0},       [PTX_E4M3] = {"e4m3", 1, 0},
    [PTX_E5M2] = {"e5m2", 1, 0}, [PTX_E2M1] = {"e2m1", 1, 0},     [PTX_PRED] = {"pred", 0, 0},
};

static const char *const specials[PTX_SPECIAL_COUNT] = {
    [PTX_TID_X] = "%tid.x",
    [PTX_TID_Y] = "%tid.y",
    [PTX_TID_Z] = "%tid.z",
    [PTX_NTID_X] = "%ntid.x",
    [PTX_NTID_Y] = "%ntid.y",
    [PTX_NTID_Z] = "%ntid.z",
    [PTX_CTAID_X] = "%ctaid.x",
    [PTX_CTAID_Y] = "%ctaid.y",
    [PTX_CTAID_Z] = "%ctaid.z",
    [PTX_NCTAID_X] = "%nctaid.x",
    [PTX_NCTAID_Y] = "%nctaid.y",
    [PTX_NCTAID_Z] = "%nctaid.z",
    [PTX_LANEID] = "%laneid",
    [PTX_WARPID] = "%warpid",
    [PTX_NWARPID] = "%nwarpid",
    [PTX_SMID] = "%smid",
    [PTX_NSMID] = "%nsmid",
    [PTX_GRIDID] = "%gridid",
    [PTX_LANEMASK_EQ] = "%lanemask_eq",
    [PTX_LANEMASK_LE] = "%lanemask_le",
    [PTX_LANEMASK_LT] = "%lanemask_lt",
    [PTX_LANEMASK_GE] = "%lanemask_ge",
    [PTX_LANEMASK_GT] = "%lanemask_gt",
    [PTX_CLUSTERID_X] = "%clusterid.x",
    [PTX_CLUSTERID_Y] = "%clusterid.y",
    [PTX_CLUSTERID_Z] = "%clusterid.z",
    [PTX_NCLUSTERID_X] = "%nclusterid.x",
    [PTX_NCLUSTERID_Y] = "%nclusterid.y",
    [PTX_NCLUSTERID_Z] = "%nclusterid.z",
    [PTX_CLUSTER_CTAID_X] = "%cluster_ctaid.x",
    [PTX_CLUSTER_CTAID_Y] = "%cluster_ctaid.y",
    [PTX_CLUSTER_CTAID_Z] = "%cluster_ctaid.z",
    [PTX_CLUSTER_NCTAID_X] = "%cluster_nctaid.x",
    [PTX_CLUSTER_NCTAID_Y] = "%cluster_nctaid.y",
    [PTX_CLUSTER_NCTAID_Z] = "%cluster_nctaid.z",
    [PTX_CLUSTER_CTARANK] = "%cluster_ctarank",
    [PTX_CLUSTER_NCTARANK] = "%cluster_nctarank",
    [PTX_IS_EXPLICIT_CLUSTER] = "%is_explicit_cluster",
    [PTX_DYNAMIC_SMEM_SIZE] = "%dynamic_smem_size",
    [PTX_TOTAL_SMEM_SIZE] = "%total_smem_size",
    [PTX_CLOCK] = "%clock",
    [PTX_CLOCK_HI] = "%clock_hi",
    [PTX_CLOCK64] = "%clock64",
    [PTX_GLOBALTIMER] = "%globaltimer",
    [PTX_GLOBALTIMER_LO] = "%globaltimer_lo",
    [PTX_GLOBALTIMER_HI] = "%globaltimer_hi",
};

uint32_t ptx_type_bytes(enum ptx_type t) { return types[t].bytes; }
int ptx_type_signed(enum ptx_type t) { return types[t].is_signed; }
const char *ptx_type_name(enum ptx_type t) { return types[t].name ? types[t].name : ""; }
const char *ptx_special_name(enum ptx_special s) { return specials[s]; }

int ptx_type_find(const char *name, size_t length)
{
    for (int t = 1; t < PTX_TYPE_COUNT; t++)
        if (strlen(types[t].name) == length && memcmp(types[t].name, name, length) == 0) return t;
    return PTX_NONE;
}
