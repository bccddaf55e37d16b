-- linear.lua -- what the heads of the CUDA linear templates have in common

-- Whether weights of a request are a case of mma_weight.cuh; if not, why.
packed_weights = function(r)
    local w = r.weight
    return not w.dense or w.code == r.act, "dense weights must have the type of the activations"
end,

-- Whether a request is for 16-bit activations and weights of whatever form; if not, why.
weight_only = function(r)
    if r.arch.kind ~= "sm" then return false, "needs a GPU" end
    if r.act ~= "f16" and r.act ~= "bf16" then return false, "activations must be f16 or bf16" end
    if r.out == "i8" or r.out == "e4m3" then return false, "output must be f16, bf16 or f32" end
    return packed_weights(r)
end,

-- Bytes of the codes of one tile chunk: 16 rows, 64 columns.
code_bytes = function(w) return w.dense and 2048 or 128 * w.bits end,

-- Groups of a chunk of 64 columns; those that do not fit are treated as if each 16 were one.
chunk_groups = function(w)
    if w.group == -1 or w.group % 64 == 0 then return 1 end
    return 64 % w.group == 0 and 64 // w.group or 4
end,

scale_bytes = function(w)
    return ({ f16 = 2, bf16 = 2, f32 = 4, k = 1, e8m0 = 1, e4m3 = 1 })[w.scale]
end,

-- The same with scales, zeros and supers of its groups.
tile_bytes = function(w)
    if w.dense then return 2048 end
    local scale = scale_bytes(w)
    local zero = ({ none = 0, int = 1, float = scale })[w.zero]
    return code_bytes(w) + 16 * chunk_groups(w) * (scale + zero) + (w.scale == "k" and 64 or 0)
end,

-- How a kernel says what its weights are.
packed_type = function(r)
    local w = r.weight
    if w.dense then
        return string.format("qk_packed<16, 0, qk_%s, QK_ZERO_NONE, qk_%s>", r.act, r.act)
    end
    local scale = w.scale == "k" and "qk_two_level" or "qk_" .. w.scale
    local group = w.group == -1 and 0 or w.group   -- 0: the row
    local common = string.format("%d, %d, %s, QK_ZERO_%s, qk_%s", w.bits, group, scale,
                                 w.zero:upper(), r.act)
    return (r.quant == "none" and "qk_packed<" or "qk_bytes<") .. common .. ", QK_CODE_"
           .. w.code:upper() .. ">"
end,

-- Whether activations in 8 bits meet weights that become bytes of the same kind; if not, why.
byte_codes = function(r)
    local code = r.weight.code
    if r.act == "e4m3" then return code == "e4m3", "e4m3 activations need e4m3 codes" end
    return code == "int" or code == "iq4" or code == "e2m1",
           "i8 activations need codes of integers: int, iq4 or e2m1"
end,

-- Whether mma.sync multiplies what a request asks for: 16-bit activations, or codes of which both
-- operands are of one kind; if not, why.  The assembler takes 8-bit floats for sm_90 and sm_100 as
-- well, and makes conversions and 16-bit mma of them, slower than 16-bit activations.
mma_sync = function(r)
    if r.quant == "none" or r.arch.kind ~= "sm" then return weight_only(r) end
    local w, floats = r.weight, r.act == "e4m3"
    if floats and r.arch.number ~= 89 and r.arch.number ~= 120 then
        return false, "mma.sync of 8-bit floats is native on sm_89 and sm_120 only"
    end
    if floats and chunk_groups(w) == 4 then
        return false, "a group of 8-bit floats must be 32 or a multiple of 64"
    end
    return byte_codes(r)
end,

-- Integer sums of whole rows meet their scales at the end (mma_byte.cuh, WHOLE).
late_scales = function(r)
    local w = r.weight
    return r.act == "i8" and w.group == -1 and w.zero ~= "float"
           and not (w.zero == "int" and w.bits == 8)
end,

-- Bytes of one tile chunk in a stage: without scales that come late.
stage_tile_bytes = function(r)
    return tile_bytes(r.weight) - (late_scales(r) and 16 * scale_bytes(r.weight) or 0)
end,

-- Bytes of `rows` rows of x in a stage, and the scales of their blocks.
x_bytes = function(r, rows)
    return rows * (r.quant == "none" and 128 or 64)
           + (r.quant == "block" and 4 * ((rows + 7) // 8 * 8) or 0)
end,

-- Eights of columns of the mma for eights of rows of x: zero points of x need one of ones.
eights_of = function(r, eights) return eights + (r.quant == "token_zero" and 1 or 0) end,

-- Registers for the sums of `tiles` x `eights` mma: over K, of the group under way (with four
-- groups a chunk some of the next), and of x over that group where zeros meet it (from sm_100 on,
-- whose front end is another, with four groups a chunk of the next one too).
sum_registers = function(r, tiles, eights)
    local w = r.weight
    local sets = late_scales(r) and 1 or chunk_groups(w) == 4 and 3 or 2
    local of_x = (w.zero == "float" or (r.act == "i8" and w.zero == "int" and w.bits == 8))
                 and (r.arch.number >= 100 and sets == 3 and 2 or 1) or 0
    return 4 * eights * (sets * tiles + of_x)
end,

-- What a kernel includes, and how it says what rows of x are, in a stage and as sums.
operand_header = function(r) return r.quant == "none" and "mma_weight.cuh" or "mma_byte.cuh" end,
x_type = function(r, rows, threads)
    if r.quant == "none" then return string.format("qk_rows<%s, %s>", rows, threads) end
    return string.format("qk_code_rows<%s, %s, %s>", rows, threads,
                         r.quant == "block" and "true" or "false")
end,
row_type = function(r)
    if r.quant == "none" or r.quant == "block" then return "qk_plain_row" end
    return "qk_row_worth<X_ZERO>"
end,

-- Registers that a thread of a block may hold by estimate, which is off by up to 25.
thread_registers = function(threads) return math.min(230, 65536 // threads) end,
