-- template.lua -- the half of the template engine that is easier said in Lua
--
-- template.c runs this once per template, in that template's own state, and then calls what it
-- returns.  What a template sees is built here: the names in `sandbox`, each of them without clock,
-- file, address, random number or hash order, so that a template gives the same text everywhere.
--
-- emit(line, ...): append one line of output.  guard(f): f, followed by a look at the time limit.
-- fetch(name): the text of a file beside the template, or nil.
local origin, text, emit, guard, fetch, backend = ...

local error, getmetatable, ipairs, load, next = error, getmetatable, ipairs, load, next
local select, setmetatable, tonumber = select, setmetatable, tonumber
local tostring, type = tostring, type
local concat, sort = table.concat, table.sort
local find, format, gsub, match, rep, sub = string.find, string.format, string.gsub, string.match,
                                            string.rep, string.sub
local tointeger, number_type = math.tointeger, math.type
local getinfo = debug.getinfo

local MAX_STRING  <const> = 1 << 20
local MAX_SUBJECT <const> = 512     -- a pattern with two quantifiers is cubic in this
local MAX_POINTS  <const> = 20000
local MAX_ROWS    <const> = 1 << 30
local MAX_THREADS <const> = 1024

---- what a template sees ----

-- t, with an error for a field that it lacks and for assignments.
local function strict(t, what)
    return setmetatable(t, {
        __index = function(_, key)
            error(format("%s has no field '%s'", what, tostring(key)), 2)
        end,
    })
end

local function read_only(t, what)
    return setmetatable({}, {
        __index = strict(t, what),
        __newindex = function() error(what .. " cannot be changed", 2) end,
    })
end

-- The address of a table would differ from run to run.
local function plain(value)
    local kind = type(value)
    return kind == "number" or kind == "string" or kind == "boolean" or kind == "nil"
end

local function sorted_keys(t)
    local keys = {}
    for key in next, t do
        if type(key) ~= "string" and type(key) ~= "number" then
            error("pairs: a key is a " .. type(key), 3)
        end
        keys[#keys + 1] = key
    end
    sort(keys, function(a, b)
        if type(a) ~= type(b) then return type(a) == "number" end
        return a < b
    end)
    return keys
end

local function sorted_pairs(t)
    local keys, i = sorted_keys(t), 0
    return function()
        i = i + 1
        if keys[i] ~= nil then return keys[i], t[keys[i]] end
    end
end

-- Stable insertion sort: table.sort draws its pivot from the clock and may then order ties by it.
local function stable_sort(t, less)
    less = less or function(a, b) return a < b end
    for i = 2, #t do
        local value, j = t[i], i
        while j > 1 and less(value, t[j - 1]) do
            t[j] = t[j - 1]
            j = j - 1
        end
        t[j] = value
    end
end

-- insert and remove in Lua, so that their loops count as steps.
local function insert(t, at, value)
    if value == nil then at, value = #t + 1, at end
    for i = #t, at, -1 do t[i + 1] = t[i] end
    t[at] = value
end

local function remove(t, at)
    at = at or #t
    local value = t[at]
    for i = at, #t do t[i] = t[i + 1] end
    return value
end

local function capped_rep(s, n, separator)
    if n > MAX_STRING or (#s + #(separator or "")) * n > MAX_STRING then
        error(format("string.rep: more than %d bytes", MAX_STRING), 2)
    end
    return rep(s, n, separator)
end

-- A string function that takes a pattern, for patterns that cannot run for long.
local function capped_pattern(name, f)
    return function(s, pattern, ...)
        local _, quantifiers = gsub(pattern, "[%*%+%-%?]", "")
        if #s > MAX_SUBJECT or #pattern > 64 or quantifiers > 2 or find(pattern, "%%[bf]") then
            error(format("string.%s: over the limits: %d bytes of text, patterns of 64 bytes with "
                         .. "2 quantifiers and no %%b or %%f", name, MAX_SUBJECT), 2)
        end
        return f(s, pattern, ...)
    end
end

local function plain_format(form, ...)
    if find(form, "%%[%d%.%-+ #]*p") then error("string.format: %p gives an address", 2) end
    for i = 1, select("#", ...) do
        if not plain((select(i, ...))) then error("string.format: argument is a table", 2) end
    end
    return format(form, ...)
end

local strings = {
    byte = guard(string.byte), char = guard(string.char), len = string.len,
    lower = guard(string.lower), reverse = guard(string.reverse), sub = guard(sub),
    upper = guard(string.upper), rep = guard(capped_rep), format = guard(plain_format),
    find = guard(capped_pattern("find", find)), match = guard(capped_pattern("match", match)),
    gsub = guard(capped_pattern("gsub", gsub)),
}
getmetatable("").__index = strict(strings, "string")

local sandbox = {
    error = error, ipairs = ipairs, pairs = sorted_pairs, select = select, tonumber = tonumber,
    type = type,
    assert = function(value, ...)
        if not value then error(... or "assertion failed", 2) end
        return value, ...
    end,
    tostring = function(value)
        if not plain(value) then error("tostring: a " .. type(value) .. " has no text", 2) end
        return tostring(value)
    end,
    string = read_only(strings, "string"),
    table = read_only({
        concat = guard(concat), insert = insert, remove = remove, sort = stable_sort,
        unpack = guard(table.unpack),
    }, "table"),
    math = read_only({
        abs = math.abs, ceil = math.ceil, exp = math.exp, floor = math.floor, fmod = math.fmod,
        huge = math.huge, log = math.log, max = math.max, maxinteger = math.maxinteger,
        min = math.min, mininteger = math.mininteger, pi = math.pi, sqrt = math.sqrt,
        tointeger = tointeger, type = number_type,
    }, "math"),
}

-- Globals of the template: what `sandbox` holds, to which the head's fields are added once they are
-- known; all else is an error.  Tables all the way, as a function per look-up doubled the time.
setmetatable(sandbox, {
    __index = function(_, key) error("undeclared name: " .. tostring(key), 2) end,
})
local env = setmetatable({}, {
    __index = sandbox,
    __newindex = function(_, key)
        error("assignment to undeclared name: " .. tostring(key), 2)
    end,
})

local sandbox_names = {}
for name in next, sandbox do sandbox_names[name] = true end

---- reading a template ----

local function at_line(n, message, ...)
    error(format("%s:%d: " .. message, origin, n, ...), 0)
end

-- At the line where a function of the head, or of the file that it uses, starts.
local function at_function(f, message, ...)
    local at = getinfo(f, "S")
    error(format("%s:%d: " .. message, sub(at.source, 2), at.linedefined, ...), 0)
end

local function compile(code, from)
    local chunk, message = load(code, "@" .. from, "t", env)
    if not chunk then error(message, 0) end
    return chunk
end

-- Lua for one line of kernel text.
local function text_line(line, n)
    local parts, at = {}, 1
    while true do
        local open = find(line, "${", at, true)
        if not open then break end
        local close = match(line, "^%b{}()", open + 1)
        if not close then at_line(n, "'${' without its '}'") end
        parts[#parts + 1] = format("%q", sub(line, at, open - 1))
        parts[#parts + 1] = "(" .. sub(line, open + 2, close - 2) .. ")"
        at = close
    end
    parts[#parts + 1] = format("%q", sub(line, at))
    return format("qk_emit(%d, %s)", n, concat(parts, ", "))
end

-- The body as a chunk in which line n is line n of the template.
local function body_code(body, first)
    local code, n = {"local r, p, name, qk_emit = ... " .. rep("\n", first - 2)}, first
    for line in string.gmatch(body, "([^\n]*)\n") do
        code[#code + 1] = match(line, "^%$([^{].*)$") or match(line, "^%$()$") and ""
                          or text_line(line, n)
        n = n + 1
    end
    return concat(code, "\n")
end

local head

local function add_fields(fields, from)
    for _, name in ipairs(sorted_keys(fields)) do
        if sandbox_names[name] then
            at_line(1, "the field '%s' of %s hides a name of Lua", name, from)
        end
        if head[name] ~= nil then at_line(1, "the field '%s' of %s is here too", name, from) end
        head[name], sandbox[name] = fields[name], fields[name]
    end
end

-- The fields that a head has in common with others, in a file beside it.
local function add_shared(name)
    local shared = type(name) == "string" and fetch(name)
    if not shared then at_line(1, "use: no file '%s' beside the template", tostring(name)) end
    local from = match(origin, "^.*/") .. name
    add_fields(compile("return {" .. shared .. "\n}", from)(), from)
end

local function read()
    if sub(text, -1) ~= "\n" then text = text .. "\n" end
    if find(text, "\0", 1, true) then at_line(1, "a zero byte: not a text") end
    local head_text, body = match(text, "^(.-\n)%-%-%-\n(.*)$")
    if not head_text then at_line(1, "no line of three dashes between head and body") end
    local _, newlines = gsub(head_text, "\n", "")
    head = {}
    add_fields(compile("return {" .. head_text .. "}", origin)(), "the head")
    if head.use ~= nil then add_shared(head.use) end
    return compile(body_code(body, newlines + 2), origin)
end

local body = read()

---- checking the head ----

local function check_field(name, wanted, optional)
    local kind = type(head[name])
    if kind == wanted or (optional and kind == "nil") then return end
    at_line(1, "the head's field '%s' is a %s, expected a %s", name, kind, wanted)
end

local function check_tune(name, values)
    if type(name) ~= "string" or not match(name, "^[a-z][a-z0-9_]*$") then
        at_line(1, "tune: '%s' is no lower-case name", tostring(name))
    end
    if type(values) ~= "table" or #values == 0 then
        at_line(1, "tune.%s: expected a list of values", name)
    end
    for _, value in ipairs(values) do
        local is_word = type(value) == "string" and match(value, "^[a-z][a-z0-9_]*$")
        if not is_word and number_type(value) ~= "integer" then
            at_line(1, "tune.%s: '%s' is neither integer nor lower-case word", name,
                    tostring(value))
        end
    end
end

check_field("op", "string")
check_field("tune", "table", true)
check_field("accepts", "function")
for _, name in ipairs {"where", "m", "rank", "split", "smem", "map", "registers", "ahead"} do
    check_field(name, "function", true)
end
for _, name in ipairs {"grid", "block"} do check_field(name, "function", backend ~= "cuda") end
local tune = head.tune or {}
local tune_names = sorted_keys(tune)
for _, name in ipairs(tune_names) do check_tune(name, tune[name]) end

---- candidates ----

-- The value of one of the head's functions has to be a whole number in lo..hi.
local function whole(field, value, lo, hi)
    local n = type(value) == "number" and tointeger(value)
    if not n or n < lo or n > hi then
        at_function(head[field], "%s: %s is no whole number in %d..%d", field,
                    plain(value) and tostring(value) or type(value), lo, hi)
    end
    return n
end

local function call(field, default, ...)
    if not head[field] then return default end
    return head[field](...)
end

-- "N/64" as {"N", 64}
local function grid_entry(value)
    local dim, div = match(tostring(value), "^([%a_]+)/(%d+)$")
    if not dim then dim, div = match(tostring(value), "^([%a_1]+)$"), 1 end
    return {dim or tostring(value), whole("grid", tonumber(div), 1, 1 << 20)}
end

local function strict_request(r)
    if r.weight then strict(r.weight, "r.weight") end
    strict(r.arch, "r.arch")
    return strict(r, "r")
end

-- Call visit(p, texts) for each point, the last name varying fastest.
local function each_point(visit, p, texts, depth)
    local name = tune_names[depth]
    if not name then return visit(p, texts) end
    for _, value in ipairs(tune[name]) do
        p[name] = value
        texts[depth] = name .. "=" .. tostring(value)
        each_point(visit, p, texts, depth + 1)
    end
end

local function rows(r, p)
    if not head.m then return 1, MAX_ROWS end
    local lo, hi = head.m(r, p)
    lo = whole("m", lo, 1, MAX_ROWS)
    return lo, whole("m", hi, 0, MAX_ROWS) -- below lo: none of the rows asked for
end

local function rank(r, p)
    local value = call("rank", 0, r, p)
    if type(value) ~= "number" or value ~= value then at_function(head.rank, "rank: not a number") end
    return value
end

local function thread_count(r, p)
    local block = head.block(r, p)
    if type(block) ~= "table" then block = {block} end
    local threads = 1
    for _, size in ipairs(block) do threads = threads * whole("block", size, 1, MAX_ROWS) end
    return threads
end

-- What an architecture allows of a point's kernel: why it may not be tried, or nil.  ORDER REFUSAL
local function refusal(r, p)
    if head.where and not head.where(r, p) then return "shape" end
    if r.arch.kind ~= "sm" then return nil end
    if thread_count(r, p) > MAX_THREADS then return "threads" end
    if whole("smem", call("smem", 0, r, p), 0, 1 << 24) > r.arch.smem then return "shared memory" end
    local needed, most = call("registers", 0, r, p)
    if whole("registers", needed, 0, 1 << 20) > (most or r.arch.max_regs) then return "registers" end
    return nil
end

local refusal_names = {"shape", "threads", "shared memory", "registers"}

local function why_none(refused, in_range)
    local reasons = {}
    for _, name in ipairs(refusal_names) do
        if refused[name] > 0 then reasons[#reasons + 1] = refused[name] .. " by " .. name end
    end
    return format("none of %d tune points is legal: %s", in_range, concat(reasons, ", "))
end

-- All legal points for a request as {tune, lo, hi, rank}, how many were refused by what, and how many
-- there are in its rows; or nil and why there are none.
local function candidates(r)
    local accepted, why = head.accepts(r)
    if not accepted then return nil, why and tostring(why) or "does not accept it" end
    local found, points, in_range, refused = {}, 0, 0, {}
    for _, name in ipairs(refusal_names) do refused[name] = 0 end
    each_point(function(p, texts)
        points = points + 1
        if points > MAX_POINTS then at_line(1, "more than %d tune points", MAX_POINTS) end
        local lo, hi = rows(r, p)
        if lo > hi or lo > r.m_hi or hi < r.m_lo then return end
        in_range = in_range + 1
        local broken = refusal(r, p)
        if broken then refused[broken] = refused[broken] + 1 return end
        found[#found + 1] = {concat(texts, " "), lo, hi, rank(r, p)}
    end, strict({}, "p"), {}, 1)
    if #found > 0 then return found, refused, in_range end
    if in_range > 0 then return nil, why_none(refused, in_range) end
    return nil, format("made for no row of M %d..%d", r.m_lo, r.m_hi)
end

local function point_of(text)
    local p = strict({}, "p")
    for key, value in string.gmatch(text, "([%w_]+)=([%w_%-]+)") do
        p[key] = tonumber(value) or value
    end
    return p
end

-- The one legal point with this text, as in candidates(); or nil and why it is none.
local function one(r, tune_text)
    local accepted, why = head.accepts(r)
    if not accepted then return nil, why and tostring(why) or "does not accept it" end
    local p, texts = strict({}, "p"), {}
    for i, name in ipairs(tune_names) do
        for _, value in ipairs(tune[name]) do
            local text = name .. "=" .. tostring(value)
            if find(" " .. tune_text .. " ", " " .. text .. " ", 1, true) then
                p[name], texts[i] = value, text
            end
        end
        if not texts[i] then return nil, "the tune point has no legal " .. name end
    end
    if concat(texts, " ") ~= tune_text then return nil, "it has no such tune point" end
    local lo, hi = rows(r, p)
    if lo > r.m_lo or hi < r.m_hi then return nil, "the tune point is not made for all of the rows" end
    local broken = refusal(r, p)
    if broken then return nil, "the tune point is refused by " .. broken end
    return {tune_text, lo, hi, rank(r, p)}
end

-- How a point's kernel is launched: grid, block, smem, split.
local function launch(r, tune_text)
    local p = point_of(tune_text)
    local grid, block = call("grid", {}, r, p), call("block", {}, r, p)
    if type(grid) ~= "table" then grid = {grid} end
    if type(block) ~= "table" then block = {block} end
    local result = {grid = {}, block = {}}
    for i = 1, 3 do
        result.grid[i] = grid_entry(grid[i] or 1)
        result.block[i] = whole("block", block[i] or 1, 1, 1024)
    end
    local map = call("map", {rows = 0, bytes = 0}, r, p)
    result.map_rows = whole("map", map.rows, 0, 256)
    result.map_bytes = whole("map", map.bytes, 0, 128)
    result.smem = whole("smem", call("smem", 0, r, p), 0, 1 << 24)
    result.split = whole("split", call("split", 1, r, p), 0, 1 << 16)
    result.ahead = whole("ahead", call("ahead", 1, r, p), 1, 1 << 16)
    return result
end

local function render(r, tune_text, name) body(r, point_of(tune_text), name, emit) end

return head.op, strict_request, head.accepts, candidates, one, launch, render
