-- unicode_table.lua -- makes unicode_table.h from the Unicode Character Database
--
--   lua5.4 runtime/unicode_table.lua /usr/share/unicode > runtime/unicode_table.h
--
-- The folder holds UnicodeData.txt and PropList.txt (Debian package unicode-data).  Run by hand when
-- a new Unicode version is wanted; the build takes the file as it is committed.

local folder = assert(arg[1], "usage: unicode_table.lua FOLDER")
local OTHER, SPACE = 0, 4
local class_of_category = { L = 1, N = 2, P = 3 }
local LIMIT = 0x110000

local class = {} -- [code] = class; absent: OTHER

local first -- of a range that UnicodeData.txt gives by its two ends
for line in io.lines(folder .. "/UnicodeData.txt") do
  local hex, name, category = line:match("^(%x+);([^;]*);(%a)")
  local code = tonumber(hex, 16)
  if name:find(", First>$") then
    first = code
  else
    for c = name:find(", Last>$") and first or code, code do
      class[c] = class_of_category[category]
    end
  end
end

local version
for line in io.lines(folder .. "/PropList.txt") do
  version = version or line:match("PropList%-([%d.]+)%.txt")
  local from, to = line:match("^(%x+)%.?%.?(%x*)%s*; White_Space")
  if from then
    for c = tonumber(from, 16), tonumber(to ~= "" and to or from, 16) do
      class[c] = SPACE
    end
  end
end

local starts, previous = {}, nil
for c = 0, LIMIT - 1 do
  local now = class[c] or OTHER
  if now ~= previous then
    starts[#starts + 1] = string.format("0x%x", c << 3 | now)
    previous = now
  end
end

print("/* unicode_table.h -- classes of Unicode " .. version .. " */")
print("/* Made by unicode_table.lua; do not edit. */")
print("/* clang-format off */")
print("static const uint32_t class_starts[] = {")
for i = 1, #starts, 10 do
  print("    " .. table.concat(starts, ", ", i, math.min(i + 9, #starts)) .. ",")
end
print("};")
print("/* clang-format on */")
