-- linear.lua -- what the heads of the CUDA linear templates have in common

-- Whether weights of a request are a case of mma_weight.cuh; if not, why.
packed_weights = function(r)
    local w = r.weight
    if w.dense then
        return w.code == r.act, "dense weights must have the type of the activations"
    end
    return w.group == -1 or w.group % 64 == 0 or 64 % w.group == 0,
           "a group must divide 64 or be a multiple of it"
end,

-- Whether a request is for 16-bit activations and weights of whatever form; if not, why.
weight_only = function(r)
    if r.arch.kind ~= "sm" then return false, "needs a GPU" end
    if r.act ~= "f16" and r.act ~= "bf16" then return false, "activations must be f16 or bf16" end
    if r.out == "i8" then return false, "output must be f16, bf16 or f32" end
    return packed_weights(r)
end,

-- Bytes of the codes of one tile chunk: 16 rows, 64 columns.
code_bytes = function(w) return w.dense and 2048 or 128 * w.bits end,

-- The same with scales, zeros and supers of its groups.
tile_bytes = function(w)
    if w.dense then return 2048 end
    local groups = w.group > 0 and w.group < 64 and 64 // w.group or 1
    local scale = ({ f16 = 2, bf16 = 2, f32 = 4, k = 1 })[w.scale]
    local zero = ({ none = 0, int = 1, float = scale })[w.zero]
    return code_bytes(w) + 16 * groups * (scale + zero) + (w.scale == "k" and 64 or 0)
end,
